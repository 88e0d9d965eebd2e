"""Sentences with blanks: cloze templates, and captions in which words of a label are hidden.

A blank is shown to the model as one [MASK] for each piece of the candidate that is tried in it.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from videobert_jax.text.tokenizer import Tokenizer

MASKS = ("verb", "object")  # what the two [MASK] of a template without names stand for
# Sun et al. 2019, section 4.3
PAPER_TEMPLATE = "now let me show you how to {verb} the {object}"
# Section 4.6, of features for captioning
PAPER_FEATURE_TEMPLATE = "now let's [MASK] the [MASK] to the [MASK], and then [MASK] the [MASK]"
_SLOT = re.compile(r"\{(\w+)\}|\[MASK\]")  # without a name: a mask that no candidate is tried in


class TemplateError(ValueError):
    """A cloze template without the slots that are asked of it."""


@dataclasses.dataclass(frozen=True)
class Blank:
    """Piece ids before and after the one place where candidates are tried."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def length(self, num_masks: int) -> int:
        """Positions taken with [CLS], [SEP] and `num_masks` masks."""
        return len(self.before) + len(self.after) + num_masks + 2


def parse(text: str, kinds: Collection[str]) -> str:
    """Template with named slots; of two [MASK] and no name, the first is the verb, then the object.

    Beside a named slot, a [MASK] stays one. Raises TemplateError unless there is a slot, each is
    verb, object or one of `kinds`, and none stands there twice.
    """
    if text.count("[MASK]") == len(MASKS) and not slots(text):
        for slot in MASKS:
            text = text.replace("[MASK]", f"{{{slot}}}", 1)
    found = slots(text)
    known = list(dict.fromkeys((*MASKS, *kinds)))
    if not found or set(found) - set(known) or len(set(found)) < len(found):
        raise TemplateError(
            f"template {text!r} has the slots {found}; expected one or more of "
            f"{', '.join(f'{{{kind}}}' for kind in known)}, once each, as in {PAPER_TEMPLATE!r}."
        )
    return text


def slots(template: str) -> list[str]:
    """Names of the slots, in the order of the text."""
    return [name for name in _SLOT.findall(template) if name]


def blank(template: str, slot: str, tokenizer: Tokenizer) -> Blank:
    """The template with candidates tried in `slot` and one [MASK] in every other slot."""
    parts: tuple[list[int], list[int]] = ([], [])
    seen = False
    for name, pieces in _parts(template, tokenizer):
        if name == slot:
            seen = True
        elif name is not None:
            parts[seen].append(tokenizer.mask_id)
        parts[seen].extend(pieces)
    if not seen:
        raise TemplateError(f"template {template!r} has no slot {{{slot}}} that begins a word.")
    return Blank(tuple(parts[False]), tuple(parts[True]))


def masked(template: str, tokenizer: Tokenizer) -> list[int]:
    """Piece ids, [CLS] and [SEP] around them, of the template with one [MASK] in every slot.

    Raises TemplateError where it has none.
    """
    ids = [tokenizer.cls_id]
    for name, pieces in _parts(template, tokenizer):
        ids += pieces if name is None else [tokenizer.mask_id, *pieces]
    if tokenizer.mask_id not in ids:
        raise TemplateError(f"template {template!r} has no [MASK] that begins a word.")
    return [*ids, tokenizer.sep_id]


def _parts(template: str, tokenizer: Tokenizer) -> Iterator[tuple[str | None, list[int]]]:
    """Yields (None, pieces of words in a row) and (a slot's name, "" of a [MASK], pieces of the
    punctuation behind it)."""
    literal: list[str] = []
    for word in template.split():
        match = _SLOT.match(word)
        if match is None:
            literal.append(word)
            continue
        if literal:
            yield None, _encode(literal, tokenizer)
            literal = []
        yield match.group(1) or "", _attached(word[match.end() :], tokenizer)
    if literal:
        yield None, _encode(literal, tokenizer)


def filled(template: str, words: Mapping[str, str], tokenizer: Tokenizer) -> list[int]:
    """Piece ids, [CLS] and [SEP] around them, of the template with words in one slot or more.

    A slot without words is one [MASK], as in `blank`.
    """
    first, *others = [slot for slot in slots(template) if slot in words]
    for slot in others:
        template = template.replace(f"{{{slot}}}", words[slot])
    around = blank(template, first, tokenizer)
    pieces = tokenizer.encode([words[first]])[0]
    return [tokenizer.cls_id, *around.before, *pieces, *around.after, tokenizer.sep_id]


def _attached(suffix: str, tokenizer: Tokenizer) -> list[int]:
    """Pieces of punctuation that follows a word without a space."""
    word, whole = tokenizer.encode(["a", f"a{suffix}"])
    return whole[len(word) :]


def hide(text: str, places: Sequence[tuple[int, int]], tokenizer: Tokenizer) -> Blank:
    """`text` with all pieces of the words at `places` hidden.

    Candidates are tried at the first place; each further one, which would give the answer away,
    becomes one [MASK].
    """
    words = text.split()
    parts: list[list[int]] = [[], []]
    seen, position = 0, 0
    for start, length in sorted(places):
        parts[seen].extend(_encode(words[position:start], tokenizer))
        if seen:
            parts[1].append(tokenizer.mask_id)
        seen = 1
        parts[1].extend(_attached(_punctuation_after(words[start + length - 1]), tokenizer))
        position = start + length
    parts[seen].extend(_encode(words[position:], tokenizer))
    return Blank(tuple(parts[0]), tuple(parts[1]))


def _encode(words: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode([" ".join(words)])[0] if words else []


def _punctuation_after(word: str) -> str:
    match = re.search(r"\W+$", word)
    return match.group() if match else ""
