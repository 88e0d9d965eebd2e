"""Words of a caption, as pycocoevalcap's PTB tokenizer leaves them, without Java.

What the metrics of captions count are words of the Penn Treebank's kind (contractions are two, a
fraction is one), in lower case, without punctuation; the peer has them from Stanford's tokenizer
3.4.1. Here a table of rules says what may stand at a place; the longest match counts, what lies
behind a rule's word counted too, and the first rule of equal ones. The peer's words of 27,000
real captions are the same (tests/tasks/metrics/test_caption_metrics.py). Each caption stands alone:
where the peer looks past the end of a line into the next caption ("vitamin c." before "The"), a
caption's end is an end here.
"""

import dataclasses
import re
from collections.abc import Callable

_PUNCTUATION = frozenset("'' ' `` ` . ? ! , : - -- ... ;".split()) | {""}  # no words
_FIXED_SPACE = "\xa0"  # inside a word of several parts

# Letters, and digits in words: \w has more, numerals of other kinds and what is beyond 16 bits.
_NO_LETTER = r"\W_\xb2\xb3\xb9\xbc-\xbe\u2070\u2074-\u2079\u2080-\u2089\u2150-\u2189\u2460-\u2bff"
_ALNUM = rf"[^{_NO_LETTER}\U00010000-\U0010ffff]"
_MARKS = (
    r"\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02eb\u02ed\u02ef-\u036f\u0483-\u0487\u0591-\u05bd"
    r"\u0610-\u061a\u064b-\u065e\u0900-\u0903\u093c\u093e-\u094e\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
)
_LETTER = rf"(?:[^{_NO_LETTER}\U00010000-\U0010ffff\d]|[{_MARKS}])"
_IN_WORD = rf"(?:{_ALNUM}|[{_MARKS}])"
_NO_MORE = r"(?![A-Za-z])"

_CURLY = r"\u0092\u2019"
_APOSTROPHE = rf"[{_CURLY}']"
_ANY_APOSTROPHE = rf"[{_CURLY}'`\u0091\u2018\u201b]"
_OPENING = dict.fromkeys("\u0091\u2018\u201b\u2039", "`") | dict.fromkeys("\u0093\u201c\xab", "``")
_CLOSING = dict.fromkeys("\u0092\u2019\u203a", "'") | dict.fromkeys("\u0094\u201d\xbb", "''")
_QUOTES = _OPENING | _CLOSING

_WORD = rf"{_LETTER}{_IN_WORD}*(?:[.!?]{_LETTER}{_IN_WORD}*)*"
_PREFIX = rf"(?:[dol]{_ANY_APOSTROPHE}{_ALNUM})?"  # o'clock, hors d'oeuvre
_COMPOUND = rf"{_PREFIX}{_ALNUM}+(?:[-_\u058a\u2010\u2011]{_PREFIX}{_ALNUM}+)*"
_INITIALS = r"[A-Za-z](?:\.[A-Za-z])+"
_NUMBER = r"(?:\d+(?:[.:,]\d+)*|(?:[.:,]\d+)+)"
_SHORT = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"  # either side of a slash

# Short for something whatever follows, so that the period is part of the word.
_ABBREVIATIONS = """
    adj adm adv al ala alex apr ariz assn atty aug ave bancorp bhd bldg blvd brig bros calif capt cf
    cie cmdr co col colo conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb
    fla fri ft ga gen gov hon inc ind insp intl jan jos jr jul jun kan kans ky lieut lt ltd maj mar
    md messrs mich minn mlle mme mo mon mont mr mrs ms mt natl neb nev nov oct okla pa penn pfc ph
    plc prof profs pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys
    tel tenn thu treas tue univ va vs vt wed wis wisc wm wyo
""".split()
_CAPITALISED = "Ark Az Del Ill La Mass Miss Ore Tex Wash".split()  # words where they are not
_BEFORE_NUMBERS = "art ca fig figs no nos op pp prop".split()
# What begins a sentence, so that a letter and a period before it ended one.
_FIRST_WORDS = """
    A About According After An As At But Earlier He Her Here However If In It Last Many More Now
    Once One Other Our She Since So Some Such That The Their Then There These They This We What When
    While Yet You
""".split()
_WITH_APOSTROPHE = """
    'em 'till? 'cause [ldj]' ol' dunkin' somethin' cont'd\\. nor'easter c'mon e'er s'mores ev'ry
    li'l nat'l o'o '[2-9]0s
""".split()
_FILES = """
    bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl
    png ppt ps py sql tar txt wav x xml zip
""".split()
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SPELT_OUT = {
    **{"\xbc": "1/4", "\xbd": "1/2", "\xbe": "3/4", "\u2153": "1/3", "\u2154": "2/3"},
    **{"\xa2": "cents", "\xa3": "#", "\x80": "$", "\xa4": "$", "\u20a0": "$", "\u20ac": "$"},
    **{"\u2026": "...", "&amp;": "&", "&lt;": "<", "&gt;": ">"},
    **{"&quot;": "''", '"': "''", "&apos;": "'", "&nbsp;": ""},
    **_BRACKETS,
}
# Signs that are words; what is in no rule is dropped (emoji, other currencies).
_SIGNS = (
    r"!#-/:-@\\-`{-~\xa1\xa5-\xa9\xac\xae-\xb4\xb6-\xb9\xbf\xd7\xf7\u037e\u0387\u0589\u05be\u05c0"
    r"\u05c3\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060c\u0614\u061b\u061e\u061f\u066a\u066d\u06d4"
    r"\u0700-\u070d\u07f6-\u07f8\u0964\u0965\u0e3f\u0e4f\u1fbd\u2016\u2017\u201a\u201e-\u2023"
    r"\u2030-\u2038\u203b\u203e-\u2042\u2070\u2074-\u207e\u2080-\u208e\u20a4\u2100\u2101"
    r"\u2103-\u2106\u2108\u2109\u2114\u2116-\u2118\u211e-\u2123\u2125\u2127\u2129\u212e\u213a\u213b"
    r"\u2140-\u2144\u214a-\u214d\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0\uffe1\uffe5\uffe6"
)


@dataclasses.dataclass(frozen=True)
class _Rule:
    """Group 1 of the pattern is the word, what is matched behind it only has to be there."""

    pattern: re.Pattern[str]
    rewrite: Callable[[str], str] | None = None


def _rule(
    pattern: str, rewrite: Callable[[str], str] | None = None, *, cased: bool = True
) -> _Rule:
    return _Rule(re.compile(pattern, 0 if cased else re.IGNORECASE), rewrite)


def _straight(word: str) -> str:
    return re.sub(_APOSTROPHE, "'", word)


def _joined(word: str) -> str:
    return re.sub(r"\s", _FIXED_SPACE, word)


def _named_parentheses(word: str) -> str:
    return word.replace("(", _BRACKETS["("]).replace(")", _BRACKETS[")"])


def _contractions() -> list[_Rule]:
    endings = "(?:ll|re|ve|[msd])"
    joined = "can-not gon-na got-ta lem-me gim-me wan-na".split()
    halves = [word.split("-") for word in joined]
    apostrophes = "|".join(_WITH_APOSTROPHE).replace("'", _APOSTROPHE)
    return [
        _rule(rf"([A-Za-z]*[A-MO-Za-mo-z])[nN]{_ANY_APOSTROPHE}[tT]"),
        _rule(rf"(n{_ANY_APOSTROPHE}t){_NO_MORE}", _straight, cased=False),
        _rule(rf"({_WORD}){_APOSTROPHE}{endings}", cased=False),
        _rule(rf"({_APOSTROPHE}{endings}){_NO_MORE}", _straight, cased=False),
        _rule(rf"([{_CURLY}]{endings})", _straight, cased=False),
        *(_rule(rf"({first}){second}{_NO_MORE}", cased=False) for first, second in halves),
        _rule("('t)(?:is|was)", cased=False),
        _rule(rf"({apostrophes})", cased=False),
        _rule(rf"({_APOSTROPHE}n{_APOSTROPHE}|'n{_NO_MORE}|[{_CURLY}]n)", cased=False),
        _rule(rf"([A-HJ-XZn]{_ANY_APOSTROPHE}{_LETTER}{{2,}})"),  # O'Brien
        _rule(rf"({_LETTER}+[aeiouyAEIOUY]{_ANY_APOSTROPHE}[aeiouA-Z]{_LETTER}*)"),  # ma'am
        _rule(rf"(y{_APOSTROPHE}){_LETTER}", cased=False),
        _rule(rf"({_APOSTROPHE}\d\d)(?:\s|$)"),
    ]


def _abbreviations() -> list[_Rule]:
    capitalised = "|".join(f"{word}|{word.upper()}" for word in _CAPITALISED)
    return [
        _rule(rf"({_INITIALS}\.)"),
        _rule(r"((?:Ph|Ed)\.D\.)", cased=False),
        _rule(rf"((?:{'|'.join(_ABBREVIATIONS)})\.)", cased=False),
        _rule(rf"((?:{capitalised}|[mM][ft]g|[pP]t[ey])\.)"),
        _rule(rf"([A-Za-z]\.)(?!\s+(?:{'|'.join(_FIRST_WORDS)})(?:\s|$))"),
        _rule(rf"((?:{'|'.join(_BEFORE_NUMBERS)})\.)\s?\d", cased=False),
        _rule(rf"((?:{_WORD}|{_COMPOUND})\.)[,;:]", cased=False),
    ]


def _numbers() -> list[_Rule]:
    code = r"(?:\(\d{2,3}\) ?|(?:\+\+?)?(?:\d{2,4}[- ])?\d{2,4}[- ])"
    dotted = r"(?:(?:\+\+?)?\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5}"
    return [
        _rule(rf"([+-]?{_NUMBER})"),
        _rule(r"((?:\d{1,4}[- \xa0])?\d{1,4}[/\u2044]\d{1,4})", _joined),  # 1 1/2
        _rule(r"(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})"),
        _rule(
            rf"({code}\d{{3,4}}[- ]?\d{{3,5}}|{dotted})",  # of a telephone
            lambda word: _joined(_named_parentheses(word)),
        ),
        _rule(
            r"([\u207a\u207b\u208a\u208b]?(?:[\u2070\xb9\xb2\xb3\u2074-\u2079]+|[\u2080-\u2089]+))"
        ),
        _rule(r"([A-Z]*\$)"),
    ]


def _of_the_web() -> list[_Rule]:
    name = r"[A-Za-z][A-Za-z0-9_:.-]*"
    value = rf"(?:'[^']*'|\"[^\"]*\"|{name})"
    tag = rf"/?[A-Za-z][A-Za-z0-9:._-]*(?: +{name}(?: *= *{value})?)* */?"
    path, last = r"[^ \t\"<>|(){}]+", r"[^ \t\"<>|.!?(){},-]"
    www = r"www\.(?:[^ \t\"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}"
    host = r"(?:[^ \t\"`'<>|.!?(){},-_$]+\.)+(?:com|net|org|edu)"
    domain = r"(?:[^ \t\"<>|().\xa0]+\.)*[^ \t\"<>|().\xa0]+"
    return [
        _rule(rf"(<(?:[!?][A-Za-z-][^>]*|{tag}) *>)", _joined),
        _rule(rf"(https?://{path}{last})", cased=False),
        _rule(rf"((?:{www}|{host})(?:/{path}{last})?)"),
        _rule(rf"((?:&lt;|<)?[a-zA-Z0-9][^ \t\"<>|()\xa0]*@{domain}(?:&gt;|>)?)"),
        _rule(rf"(@[a-zA-Z_][a-zA-Z0-9_]*|#{_LETTER}+)"),
        _rule(
            rf"({_IN_WORD}+(?:\.{_IN_WORD}+)*\.(?:{'|'.join(_FILES)}))(?=[\s.,?!]|$)", cased=False
        ),
        _rule(r"([<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]])(?![A-Za-z0-9])", _named_parentheses),
        _rule(r"([-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\))", _named_parentheses),
    ]


def _signs() -> list[_Rule]:
    def spelt_out(sign: str) -> str:
        return _SPELT_OUT[sign.lower()]

    return [
        _rule(r"(\.\.\.|\. \. \.|''|``)", lambda sign: ""),
        _rule(r"(-{2,4}(?!-)|[\u0096\u0097\u2013-\u2015]|&[mn]dash;)", lambda sign: ""),
        _rule(r"(-{5,}|@+|_+|#+|\*+|<<|>>|[!?]+)"),
        _rule(f"({'|'.join(map(re.escape, _SPELT_OUT))})", spelt_out, cased=False),
        _rule(rf"(&#\d+;|[{_SIGNS}])"),
        _rule(
            f"([{''.join(_QUOTES)}]{{1,2}})", lambda marks: "".join(_QUOTES[mark] for mark in marks)
        ),
    ]


_RULES = (
    *_of_the_web(),
    *_contractions(),
    _rule(f"({_WORD})"),
    _rule(f"({_COMPOUND})", cased=False),
    _rule(rf"([A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:{_INITIALS}\.|[A-Za-z0-9]+))+)"),  # 1.5-inch
    _rule(rf"({_SHORT}(?:/{_SHORT}){{1,2}})"),
    _rule(r"([A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)", lambda word: word.replace("&amp;", "&")),
    _rule(r"([Cc]\+\+|[CcFf]#)"),
    *_abbreviations(),
    *_numbers(),
    *_signs(),
)
# Most words of most captions; nothing longer may begin with one.
_PLAIN = re.compile(r"\s*([A-Za-z]+)(?=,?(?:\s|$))")
_TWO_WORDS = {"cannot", "gonna", "gotta", "lemme", "gimme", "wanna"}
_SPACE = re.compile(r"\s+")


def tokenize(caption: str) -> str:
    """The words of a caption, each followed by a space but the last; "" where there are none.

    The parts of a fraction, a telephone number or a tag are joined by U+00A0, which separates words
    to whoever splits at any space and does not to whoever splits at " ".
    """
    words: list[str] = []
    place = 0
    while place < len(caption):
        plain = _PLAIN.match(caption, place)
        if plain is not None and (word := plain[1].lower()) not in _TWO_WORDS:
            words.append(word)
            place = plain.end()
        elif (space := _SPACE.match(caption, place)) is not None:
            place = space.end()
        else:
            word, place = _longest(caption, place)
            if word not in _PUNCTUATION:
                words.append(word)
    return " ".join(words)


def _longest(caption: str, place: int) -> tuple[str, int]:
    """(word, the place behind it); "" for a character of no rule."""
    best, chosen = None, None
    for rule in _RULES:
        found = rule.pattern.match(caption, place)
        if found is not None and (best is None or found.end() > best.end()):
            best, chosen = found, rule
    if best is None or chosen is None:
        return "", place + 1
    word = best[1] if chosen.rewrite is None else chosen.rewrite(best[1])
    return word.lower(), best.end(1)
