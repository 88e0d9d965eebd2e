"""A page of attention of two lines, one of them hostile, with weights drawn at random."""

from collections.abc import Sequence

import numpy as np

from videobert_jax.inference import attention_page
from videobert_jax.inference.attention_maps import Word, WordAttention

HOSTILE = (
    '</script><script>window.alerted = 1</script>',
    '<img src=x onerror="window.alerted = 2">',
    "<!--<script>",
    "$script ${data} &lt;b&gt;",
    "stir",
)  # fmt: skip
LAYERS, HEADS = 2, 3


def maps(words: Sequence[str], clips: int, seed: int) -> list[WordAttention]:
    """Rollout, and of every layer the mean and the heads."""
    generator = np.random.default_rng(seed)

    def drawn(rows: int, columns: int) -> np.ndarray:
        weights = generator.random((rows, columns)) ** 3 + 0.02
        return weights / weights.sum(1, keepdims=True)

    numbered = tuple(Word(word, place, place + 1) for place, word in enumerate(words))
    asked = [(layer, head) for layer in range(1, LAYERS + 1) for head in (None, 1, 2, 3)]
    return [
        WordAttention(
            numbered, drawn(len(words), clips), drawn(clips, len(words)), layer=layer, head=head
        )
        for layer, head in [(None, None), *asked]
    ]


def make(framed: bool = True) -> attention_page.Page:
    """Line 2 of 5 clips first, in layer 1 by head 2; line 4, of 16 clips, is the hostile one."""
    lines = []
    for number, words, first, count in (
        (2, ("[CLS]", "cut", "the", "onion", "[SEP]"), 0, 5),
        (4, ("[CLS]", *HOSTILE, "[SEP]"), 5, 16),
    ):
        times = [1.5 * (first + clip) for clip in range(count)]
        lines.append(
            attention_page.Line(
                number,
                " ".join(words[1:-1]),
                times[0],
                times[-1] + 1.5,
                range(first, first + count),
                times,
                maps(words, count, number),
            )
        )
    frames = {
        clip: np.full((64, 64, 3), (12 * clip, 240 - 10 * clip, 120), np.uint8)
        for clip in range(21)
    }
    return attention_page.Page(
        f"Words of {HOSTILE[0]}", HOSTILE[1], HOSTILE[2], lines, frames if framed else {}, (0, 1, 2)
    )
