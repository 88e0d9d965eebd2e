"""The picture is a PNG of the promised width on which everything that it should show is drawn."""

import dataclasses
import io

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from PIL import Image

from videobert_jax.inference import attention_picture
from videobert_jax.inference.attention_maps import Matches, Word, WordAttention
from videobert_jax.inference.attention_picture import Moment, Passage, Picture


def make(lines: int = 3, clips: int = 4, words: int = 5, framed: bool = True) -> Picture:
    generator = np.random.default_rng(0)

    def weights(queries: int, keys: int) -> np.ndarray:
        drawn = generator.random((queries, keys))
        return drawn / drawn.sum(1, keepdims=True)

    def frame(level: int) -> np.ndarray | None:
        return np.full((64, 64, 3), level, np.uint8) if framed else None

    attention = WordAttention(
        tuple(Word(f"word{n}", n, n + 1) for n in range(words)),
        weights(words, clips),
        weights(clips, words),
        layer=1,
        head=None,
    )
    return Picture(
        "Title of $1",
        "subtitle",
        "caption",
        [Moment("cut the onion " * 4, n * 3.0, n * 3 + 2.5, frame(60)) for n in range(lines)],
        Matches(generator.uniform(-1, 1, (lines, lines))),
        Passage(
            "cut the onion",
            "about",
            [1.5 * n for n in range(clips)],
            [pixels for n in range(clips) if (pixels := frame(120)) is not None],
            attention,
        ),
    )


def pixels(picture: Picture) -> np.ndarray:
    contents = attention_picture.draw(picture)
    assert contents.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(contents)).convert("RGB"))


@pytest.mark.parametrize(
    ("lines", "clips", "words"),
    [(1, 1, 3), (3, 4, 5), pytest.param(12, 16, 20, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("framed", [True, False])
def test_the_picture_has_its_size_and_its_contents(lines, clips, words, framed):
    drawn = pixels(make(lines, clips, words, framed))
    assert drawn.shape[1] == attention_picture.WIDTH
    assert drawn.shape[0] > 50 * lines + 30 * words
    assert (drawn[[0, -1]] == 255).all() and (drawn[:, [0, -1]] == 255).all()  # nothing is cut off
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100
    for level in (60, 120):  # the frames of the moments, those of the passage
        shown = (drawn == level).all(-1).sum()
        assert (shown > 1000) == framed


def test_what_is_drawn_follows_the_figures():
    picture = make()
    before = pixels(picture)
    assert (pixels(picture) == before).all()
    turned = dataclasses.replace(picture, matches=Matches(picture.matches.cosines[::-1]))
    rows = np.flatnonzero((pixels(turned) != before).any((1, 2)))
    assert len(rows) and rows[-1] < len(before) / 2  # the upper part alone
    attention = picture.passage.attention
    other = dataclasses.replace(attention, text_reads_video=attention.text_reads_video[::-1])
    passage = dataclasses.replace(picture.passage, attention=other)
    columns = np.flatnonzero(
        (pixels(dataclasses.replace(picture, passage=passage)) != before).any((0, 2))
    )
    assert len(columns) and columns[-1] < attention_picture.WIDTH / 2  # the left map alone
