"""Content words of captions, nouns and verbs, and how rare each is: what a token contrast compares
(TACo, Yang et al. 2021, arXiv 2108.09980).

A word is a run of letters and digits. Which words are content words is counted once, by a tagger
that reads the captions, and kept in a file; a run recognises them in the pieces of any tokenizer by
a hash of their letters, which does not depend on how a word is cut into pieces.
"""

import collections
import dataclasses
import math
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int64, UInt64

from videobert_jax.files import atomic, digests, extras, json_values, versions
from videobert_jax.text.tokenizer import Tokenizer

FORMAT, FORMAT_VERSION = "videobert_jax.content_words", 1
_MOST_CAPTIONS = 2**63
_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"[^\W_]+|[.,;:!?]")  # the tagger reads the marks that end a phrase
_CONTENT_TAGS = ("NN", "VB")  # what the Penn Treebank's tags of nouns and verbs begin with
_BASE = np.uint64(0x100000001B3)  # odd, so that no power of it is 0 modulo 2^64

Tagger = Callable[[str], Iterable[tuple[str, str]]]  # text to (token, Penn Treebank tag)


class ContentWordsError(ValueError):
    """A file that holds no content words, or captions without any."""


@dataclasses.dataclass(frozen=True)
class ContentWords:
    """Content words, each with the number of captions that have it, of `captions` in all."""

    captions: int
    words: Mapping[str, int]
    about: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "captions": self.captions,
            "about": dict(self.about),
            "words": dict(sorted(self.words.items())),
        }

    @property
    def digest(self) -> str:
        """sha256 of all that is in it."""
        return digests.sha256_json(self.to_json())

    def weight(self, word: str) -> float:
        """Inverse document frequency: log of captions to captions with the word; 0 of others."""
        return math.log(self.captions / self.words[word]) if word in self.words else 0.0


def nouns_and_verbs() -> Tagger:
    """The tagger of TextBlob: a lexicon of most frequent tags with rules of context (Brill 1992).

    Raises MissingExtra where it is not installed.
    """
    english = extras.require("textblob.en", "words")
    return lambda text: english.tag(text, tokenize=False)


def count(texts: Iterable[str], tagger: Tagger | None, about: Mapping[str, Any]) -> ContentWords:
    """Content words of captions: those that `tagger` calls noun or verb more often than not.

    Without a tagger every word is one, and frequency alone tells them apart. Raises
    ContentWordsError where there is none.
    """
    captions, documents = 0, collections.Counter[str]()
    tagged, content = collections.Counter[str](), collections.Counter[str]()
    for text in texts:
        plain = unicodedata.normalize("NFKC", text).casefold()
        words = set(_WORD.findall(plain))
        captions += bool(words)
        documents.update(words)
        if tagger is None or not words:
            continue
        for token, tag in tagger(" ".join(_TOKEN.findall(plain))):
            tagged[token] += 1
            content[token] += tag.startswith(_CONTENT_TAGS)
    kept = {
        word: number
        for word, number in documents.items()
        if tagger is None or 2 * content[word] > tagged[word]
    }
    if not kept:
        raise ContentWordsError(
            f"{captions} captions with words, none of them a content word; choose a split with "
            "captions in English, or take all words (--words all)"
        )
    return ContentWords(captions, kept, about)


def save(path: str | os.PathLike, words: ContentWords) -> None:
    """Writes the words to a JSON file, which appears only when whole."""
    atomic.write_json(path, words.to_json(), indent=0)


def load(path: str | os.PathLike) -> ContentWords:
    """The words of a file of `save`. Raises ContentWordsError where it is none."""
    remedy = "make the file with `videobert content-words`"
    try:
        fields = json_values.parse(pathlib.Path(path).read_text(encoding="utf-8"))
        form = (fields["format"], fields["format_version"])
        if form != (FORMAT, FORMAT_VERSION):
            remedy = versions.newer(form[1], FORMAT_VERSION) or remedy
            raise ContentWordsError(
                f"{path}: format {form}, expected {(FORMAT, FORMAT_VERSION)}; {remedy}"
            )
        found = ContentWords(fields["captions"], fields["words"], fields["about"])
        if not (type(found.captions) is int and 0 < found.captions < _MOST_CAPTIONS):
            raise ContentWordsError(
                f"{path}: counted over {found.captions!r:.40} captions, expected a whole number "
                f"from 1 to {_MOST_CAPTIONS - 1}; {remedy}"
            )
        if not all(type(n) is int and 0 < n <= found.captions for n in found.words.values()):
            raise ContentWordsError(
                f"{path}: words of more captions than the {found.captions} there are, or of none; "
                f"{remedy}"
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ContentWordsError):
            raise
        raise ContentWordsError(
            f"{path}: not a file of content words ({error}); {remedy}"
        ) from error
    return found


class WordWeights:
    """The weights of content words where they stand in a tokenizer's pieces. Picklable."""

    def __init__(self, words: ContentWords, tokenizer: Tokenizer):
        """Raises ContentWordsError where the tokenizer has pieces for none of the words."""
        self.digest = words.digest
        self._word_starts = tokenizer.word_starts
        self._in_word = np.array([_is_in_word(surface) for surface in tokenizer.surfaces])
        self._hashes, self._lengths = _hashed([_folded(surface) for surface in tokenizer.surfaces])
        written: dict[str, float] = {}
        for word, ids in zip(words.words, tokenizer.encode(list(words.words)), strict=True):
            text = tokenizer.decode(ids).casefold()  # as the tokenizer has it, perhaps unaccented
            if text.isalnum():
                written[text] = min(words.weight(word), written.get(text, math.inf))
        if not written:
            raise ContentWordsError(
                f"none of {len(words.words)} content words can be written with the run's "
                "tokenizer; count those of a dataset in its language"
            )
        keys, _ = _hashed([text.encode("utf-8") for text in written])
        ascending = np.argsort(keys)
        self._keys = keys[ascending]
        self._weights = np.array(list(written.values()), np.float32)[ascending]

    def of_pieces(self, ids: Int[np.ndarray, " p"]) -> Float32[np.ndarray, " p"]:
        """A weight a piece: that of its word, shared among the word's pieces; 0 of other words.

        ids: of one text behind another, each from its beginning, so that a word begins there.
        """
        if not len(ids):
            return np.zeros(0, np.float32)
        in_word = self._in_word[ids]
        begins = self._word_starts[ids] | ~in_word
        begins[1:] |= ~in_word[:-1]
        word = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(ids)) - 1
        ends = np.cumsum(self._lengths[ids])
        terms = self._hashes[ids] * _power(ends[last][word] - ends)
        sums = np.cumsum(terms)
        hashes = sums[last] - sums[first] + terms[first]
        found = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        weights = np.where(self._keys[found] == hashes, self._weights[found], np.float32(0))
        return (weights / (last - first + 1).astype(np.float32))[word]


def _is_in_word(surface: bytes) -> bool:
    """Whether a piece goes on with a word: it is letters and digits, part of one, or nothing."""
    text = surface.decode("utf-8", "ignore")
    return not text or text.isalnum()


def _folded(surface: bytes) -> bytes:
    """A piece's letters made small; a byte of a letter as it is."""
    try:
        return surface.decode("utf-8").casefold().encode("utf-8")
    except UnicodeDecodeError:
        return surface


def _hashed(
    texts: Sequence[bytes],
) -> tuple[UInt64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """(hash, length) of every text: a polynomial in its bytes modulo 2^64.

    That of two texts in a row is the first's times the base to the second's length, plus the
    second's.
    """
    lengths = np.array([len(text) for text in texts], np.int64)
    values = np.frombuffer(b"".join(texts), np.uint8).astype(np.uint64) + np.uint64(1)
    ends = np.cumsum(lengths)
    behind = np.repeat(ends, lengths) - 1 - np.arange(len(values))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * _power(behind))])
    return sums[ends] - sums[ends - lengths], lengths


def _power(exponents: Int64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    return np.power(_BASE, exponents.astype(np.uint64))
