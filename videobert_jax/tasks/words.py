"""Words of captions: what counts as one, which carry content, where those of a label stand."""

import re
from collections.abc import Mapping, Sequence

STOP_WORDS = frozenset(
    "a an and are as at be by do for from go have here i if in into is it its just let me my now "
    "of off on or our out over so that the them then there these this to up we will with "
    "you your".split()
)


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def find_forms(
    text: str, forms: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, list[tuple[int, int]]]]:
    """(label, form, its places) of each label that occurs in `text`, in the order of the text.

    A place is (first word, number of words) among the words of `text.split()`. The longest form
    at a place counts ("spring onion", not "onion"), once.
    """
    written = [" ".join(words_of(word)) for word in text.split()]
    by_words = {
        tuple(words_of(form)): (label, form)
        for label, label_forms in forms.items()
        for form in label_forms
    }
    longest = max((len(key) for key in by_words), default=0)
    found: dict[str, tuple[str, list[tuple[int, int]]]] = {}
    start = 0
    while start < len(written):
        for length in range(min(longest, len(written) - start), 0, -1):
            key = tuple(written[start : start + length])
            if key in by_words:
                label, form = by_words[key]
                found.setdefault(label, (form, []))[1].append((start, length))
                start += length
                break
        else:
            start += 1
    return [(label, form, places) for label, (form, places) in found.items()]
