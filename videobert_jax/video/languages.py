"""Languages as files name them: ISO 639-1 of two letters, 639-2 of three in up to two spellings."""

# The languages of most subtitles; any other is compared letter by letter.
_SPELLINGS = """
    af:afr ar:ara be:bel bg:bul bn:ben bs:bos ca:cat cs:ces:cze cy:cym:wel da:dan de:deu:ger
    el:ell:gre en:eng es:spa et:est eu:eus:baq fa:fas:per fi:fin fr:fra:fre ga:gle gl:glg gu:guj
    he:heb hi:hin hr:hrv hu:hun hy:hye:arm id:ind is:isl:ice it:ita ja:jpn ka:kat:geo kk:kaz
    kn:kan ko:kor la:lat lt:lit lv:lav mk:mkd:mac ml:mal mn:mon mr:mar ms:msa:may my:mya:bur
    nb:nob ne:nep nl:nld:dut nn:nno no:nor pa:pan pl:pol pt:por ro:ron:rum ru:rus si:sin
    sk:slk:slo sl:slv sq:sqi:alb sr:srp sv:swe sw:swa ta:tam te:tel th:tha tl:tgl tr:tur uk:ukr
    ur:urd uz:uzb vi:vie zh:zho:chi
"""
_SHORT = {spelling: row.split(":")[0] for row in _SPELLINGS.split() for spelling in row.split(":")}


def short(language: str) -> str:
    """The two letters of a language where they are known, without its region (en-US is en)."""
    first = language.lower().replace("_", "-").split("-")[0]
    return _SHORT.get(first, first)


def same(one: str, other: str) -> bool:
    """Whether two names are of one language; nothing is the same as no name."""
    return bool(one) and short(one) == short(other)
