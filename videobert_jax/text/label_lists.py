"""Verbs and objects that steps of instructions are labelled with, from the steps' own captions.

VideoBERT's zero-shot classification (Sun et al. 2019, section 4.3) has the 45 most common verbs and
the 100 most common nouns of YouCook II's captions, by a part-of-speech tagger; its lists were not
published. A list is made once, by a tagger that reads captions (`derive`), and kept in a file; a
caption is labelled by words alone (`LabelLists.told`), without a tagger.

Captions are instructions, which taggers of running text read badly ("mix" is a noun to them). What
begins an instruction is its verb, and tells such words apart.
"""

import collections
import dataclasses
import functools
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from videobert_jax.files import atomic, digests, errors, json_values, versions
from videobert_jax.text.content_words import Tagger

FORMAT, FORMAT_VERSION = "videobert_jax.label_lists", 1
VERB, OBJECT = KINDS = ("verb", "object")
PAPER_SIZES = {VERB: 45, OBJECT: 100}
# Share of a word's uses that begin a caption, from which it is a verb: of words that the tagger
# calls base forms of verbs, and of its nouns and adjectives. In YouCook II's captions "let" has
# 0.05, "simmer" 0.11, "curry" 0; "mix" has 0.43, "grill" 0.24, "plate" 0.08, "juice" 0.03.
_BEGINS_AS_VERB, _BEGINS_AS_OTHER = 0.01, 0.1
_BASE_VERBS, _OTHERS = ("VB", "VBP"), ("NN", "NNS", "JJ")  # tags of the Penn Treebank
# Instructions have no third person: what a tagger takes for one ("leaves") is a plural.
_NOUNS = ("NN", "NNS", "VBZ", *_BASE_VERBS)
_AUXILIARIES = frozenset("am are be been do does has have is was were".split())
# Behind these a word is no imperative: "a slice of", "on the grill", "over low heat".
_BEFORE_NOUNS = frozenset(
    "a an the this that these those some each every one two any another of in on onto into from "
    "with for over at by under low medium high".split()
)
_WORD = re.compile(r"[^\W_]+")
_REMEDY = "make the file with `videobert label-lists`"

Forms = Mapping[str, list[str]]  # label -> its surface forms, the base form first
Singular = Callable[[str], str]


class LabelListError(ValueError):
    """A file that holds no lists of labels, or captions with too few words for them."""


@dataclasses.dataclass(frozen=True)
class LabelLists:
    """`forms`: of each of KINDS its labels, the commonest first, and how they are said;
    `captions`: kind -> label -> number of captions that have it; `about`: what they were made
    of."""

    forms: Mapping[str, Forms]
    captions: Mapping[str, Mapping[str, int]]
    about: Mapping[str, Any]

    @property
    def digests(self) -> dict[str, str]:
        """Kind -> sha256 of its labels and their forms, whatever their order."""
        return {kind: digests.sha256_json(of) for kind, of in self.forms.items()}

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "about": dict(self.about),
            "digests": self.digests,
            **{
                kind: {
                    label: {"captions": self.captions[kind][label], "forms": list(said)}
                    for label, said in of.items()
                }
                for kind, of in self.forms.items()
            },
        }

    def told(self, caption: str) -> dict[str, list[str]]:
        """Kind -> the labels of a caption, each once, in its order; kinds that have any.

        A word of the list of verbs is one unless a word before it says that it is none ("a slice
        of bread", "on the grill").
        """
        found: dict[str, dict[str, None]] = {}
        for before, word in _after(_words(caption)):
            for kind, label in self._labels.get(word, ()):
                if kind != VERB or before not in _BEFORE_NOUNS:
                    found.setdefault(kind, {})[label] = None
        return {kind: list(found[kind]) for kind in KINDS if kind in found}

    @functools.cached_property
    def _labels(self) -> dict[str, list[tuple[str, str]]]:
        """Word -> the (kind, label) that it says."""
        found: dict[str, list[tuple[str, str]]] = {}
        for kind, labels in self.forms.items():
            for label, said in labels.items():
                for word in said:
                    found.setdefault(word, []).append((kind, label))
        return found


def derive(
    captions: Iterable[str],
    tagger: Tagger,
    singular: Singular,
    sizes: Mapping[str, int],
    about: Mapping[str, Any],
) -> LabelLists:
    """The commonest verbs and nouns of captions, `sizes` of each kind, by the captions that have
    them; of equal ones the first in the alphabet.

    A verb has one form, its imperative. A noun has its plurals too: forms that `singular` makes
    another noun of these captions. Raises LabelListError where there are fewer.
    """
    counts = _Counts(captions)
    tags = {word: _tag(tagger, word) for word in counts.captions}
    likely = {word for word, tag in tags.items() if _is_verb(tag, counts.begins(word))}
    # of two in a row the second is the verb: "deep fry"
    verbs = {word for word in likely if _is_verb(tags[word], counts.begins(word, likely))}
    nouns = {
        word for word, tag in tags.items() if tag in _NOUNS and word not in verbs | _AUXILIARIES
    }
    groups: dict[str, set[str]] = {}
    for word in nouns:
        base = word if word.endswith("ss") else singular(word)
        groups.setdefault(base if base in nouns else word, set()).add(word)
    of_kinds = {VERB: {verb: {verb} for verb in verbs}, OBJECT: groups}
    forms, numbers = {}, {}
    for kind, labels in of_kinds.items():
        having = {label: counts.having(kind, said) for label, said in labels.items()}
        chosen = sorted(labels, key=lambda label: (-having[label], label))[: sizes[kind]]
        if len(chosen) < sizes[kind]:
            raise LabelListError(
                f"{counts.total} captions have {len(chosen)} {kind}s, expected {sizes[kind]}; give "
                "more captions, or ask for fewer"
            )
        forms[kind] = {label: [label, *sorted(labels[label] - {label})] for label in chosen}
        numbers[kind] = {label: having[label] for label in chosen}
    return LabelLists(forms, numbers, about)


def save(path: str | os.PathLike, lists: LabelLists) -> None:
    """Writes the lists to a JSON file, which appears only when whole."""
    atomic.write_json(path, lists.to_json(), indent=1)


def load(path: str | os.PathLike) -> LabelLists:
    """The lists of a file of `save`. Raises LabelListError where it is none, or was changed."""
    try:
        content = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelListError(f"{path}: not readable ({error}); {_REMEDY}") from error
    with errors.of_form(path, LabelListError, _REMEDY):
        fields = json_values.parse(content)
        form = (fields["format"], fields["format_version"])
        if form != (FORMAT, FORMAT_VERSION):
            remedy = versions.newer(form[1], FORMAT_VERSION) or _REMEDY
            raise LabelListError(
                f"{path}: format {form}, expected {(FORMAT, FORMAT_VERSION)}; {remedy}"
            )
        lists = LabelLists(
            {kind: {label: of["forms"] for label, of in fields[kind].items()} for kind in KINDS},
            {kind: {label: of["captions"] for label, of in fields[kind].items()} for kind in KINDS},
            fields["about"],
        )
        if lists.digests != fields["digests"]:
            raise LabelListError(
                f"{path}: digests {lists.digests}, but the file says {fields['digests']}: changed "
                f"since it was written; {_REMEDY}"
            )
    return lists


class _Counts:
    """How often words begin captions, and which captions have them."""

    def __init__(self, captions: Iterable[str]):
        self.total = 0
        self.captions: dict[str, set[int]] = collections.defaultdict(set)  # word -> captions
        self._with_verb: dict[str, set[int]] = collections.defaultdict(set)  # where it may be one
        self._uses = collections.Counter[str]()
        # first word of a caption -> the next, "" for none
        self._begun: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        for number, text in enumerate(captions):
            words = _words(text)
            self.total += 1
            self._uses.update(words)
            if words:
                self._begun[words[0]][words[1] if len(words) > 1 else ""] += 1
            for before, word in _after(words):
                self.captions[word].add(number)
                if before not in _BEFORE_NOUNS:
                    self._with_verb[word].add(number)

    def begins(self, word: str, verbs: Collection[str] = ()) -> float:
        """Share of a word's uses that begin a caption, with none of `verbs` behind it."""
        first = self._begun[word]
        return sum(n for following, n in first.items() if following not in verbs) / self._uses[word]

    def having(self, kind: str, words: Collection[str]) -> int:
        """Number of captions that have one of the words, of verbs where it may be one."""
        of = self._with_verb if kind == VERB else self.captions
        return len(set().union(*(of[word] for word in words)))


def _tag(tagger: Tagger, word: str) -> str:
    return next((tag for _, tag in tagger(word)), "")


def _is_verb(tag: str, begins: float) -> bool:
    if tag in _BASE_VERBS:
        return begins >= _BEGINS_AS_VERB
    return tag in _OTHERS and begins >= _BEGINS_AS_OTHER


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _after(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each word behind the one before it, the first behind ""."""
    return zip(["", *words], words, strict=False)
