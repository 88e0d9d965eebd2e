"""One PNG of what a network makes of a passage: which line belongs to which moment, and how the
words of a line and its clips attend to each other. Drawn with matplotlib; no display is needed."""

import dataclasses
import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from videobert_jax.files import extras
from videobert_jax.inference.attention_maps import Matches, WordAttention

WIDTH = 1500  # pixels
_DPI = 100
_Number = float | int
_MARGIN = 44
_INK, _MUTED, _RIGHT, _WRONG = "#1d2733", "#6b7785", "#1a7f4b", "#c0392b"
_GRID = "#ffffff"
_SHARE_COLOURS = ((0.0, "#c5cfdb"), (0.5, "#f6f4ef"), (0.75, "#f5a55c"), (1.0, "#b5301d"))
_LABELS = 440  # pixels of a line's text beside its row
_LINE_HEIGHT, _WORD_HEIGHT = 50, 30
_WORD_LABELS = 132
_MAPS_GAP = 36


@dataclasses.dataclass(frozen=True)
class Moment:
    """A line with its times in seconds, and a frame `[y, x, 3]` uint8 where there is one."""

    text: str
    start: _Number
    end: _Number
    frame: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Passage:
    """A line and its clips: their first seconds, a frame each or none at all, the attention."""

    text: str
    about: str
    times: Sequence[_Number]
    frames: Sequence[np.ndarray]
    attention: WordAttention


@dataclasses.dataclass(frozen=True)
class Picture:
    """All that is drawn. `caption` is written below: what a reader must know."""

    title: str
    subtitle: str
    caption: str
    moments: Sequence[Moment]
    matches: Matches
    passage: Passage


class _Sheet:
    """A page WIDTH pixels wide; places are pixels from its upper left corner."""

    def __init__(self, height: int):
        self.height = height
        figure = extras.require("matplotlib.figure", "plots").Figure
        self.figure = figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="white")

    def axes(self, left: _Number, top: _Number, width: _Number, height: _Number) -> Any:
        bottom = self.height - top - height
        places = (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        axes = self.figure.add_axes(places)
        axes.set_axis_off()
        return axes

    def write(
        self, left: _Number, top: _Number, text: str, size: _Number = 10.5, **style: Any
    ) -> None:
        """Text of `size` points, its upper left corner at the place unless `style` says."""
        style = {"color": _INK, "va": "top", "ha": "left", **style}
        text = text.replace("$", r"\$")  # no formulas
        self.figure.text(left / WIDTH, 1 - top / self.height, text, fontsize=size, **style)

    def frame(self, left: _Number, top: _Number, side: _Number, pixels: np.ndarray) -> None:
        self.axes(left, top, side, side).imshow(pixels, interpolation="antialiased")

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=_DPI)
        return buffer.getvalue()


def draw(picture: Picture) -> bytes:
    """PNG, WIDTH pixels wide. Raises MissingExtra where matplotlib is absent."""
    matrix_top = 110
    passage_top = matrix_top + _matches_height(picture.moments) + 46
    bottom = passage_top + _passage_height(picture.passage) + 30
    sheet = _Sheet(round(bottom + 44))
    sheet.write(_MARGIN, 24, picture.title, 20, weight="bold")
    sheet.write(_MARGIN, 66, picture.subtitle, 11, color=_MUTED)
    _draw_matches(sheet, picture.moments, picture.matches, matrix_top)
    _draw_passage(sheet, picture.passage, passage_top)
    sheet.write(_MARGIN, bottom, picture.caption, 10.5, color=_MUTED, style="italic")
    return sheet.png()


def _column_width(moments: Sequence[Moment]) -> _Number:
    return min(150.0, (WIDTH - 2 * _MARGIN - _LABELS - 40) / len(moments))


def _frame_side(column: _Number, framed: bool) -> _Number:
    return min(column - 8, 176.0) if framed else 0.0


def _matches_height(moments: Sequence[Moment]) -> _Number:
    side = _frame_side(_column_width(moments), moments[0].frame is not None)
    return 66 + side + 28 + _LINE_HEIGHT * len(moments)


def _draw_matches(sheet: _Sheet, moments: Sequence[Moment], matches: Matches, top: _Number) -> None:
    count, column = len(moments), _column_width(moments)
    sheet.write(_MARGIN, top, "Which moment does a line belong to?", 15, weight="bold")
    legend = (
        "Cosine of text tower and video tower. Framed: when the line is spoken. Dot: the most "
        f"similar moment, which is the line's own for {matches.num_right} of {count} (by chance 1)."
    )
    sheet.write(_MARGIN, top + 28, legend, 10.5, color=_MUTED)
    left, frames_top = _MARGIN + _LABELS, top + 60
    side = _frame_side(column, moments[0].frame is not None)
    times_top = frames_top + side + 6
    map_top = times_top + 24
    for number, moment in enumerate(moments):
        middle = left + (number + 0.5) * column
        if moment.frame is not None:
            sheet.frame(middle - side / 2, frames_top, side, moment.frame)
        times = f"{_clock(moment.start)}\u2013{_clock(moment.end)}"
        sheet.write(middle, times_top, times, 9.5 if column > 90 else 7.5, ha="center")
        row = map_top + (number + 0.5) * _LINE_HEIGHT
        label = textwrap.fill(moment.text, 56, max_lines=2, placeholder=" \u2026")
        sheet.write(left - 16, row, label, 10.5, ha="right", va="center", linespacing=1.25)
        right = matches.best_moments[number] == number
        mark, colour = ("\u2713", _RIGHT) if right else ("\u2717", _WRONG)
        place = left + count * column + 14
        sheet.write(place, row, mark, 14, va="center", color=colour, weight="bold")
    cosines = matches.cosines
    axes = sheet.axes(left, map_top, count * column, count * _LINE_HEIGHT)
    labels = [[_signed(value) for value in row] for row in cosines]
    for number, best in enumerate(matches.best_moments):
        labels[number][best] = f"\u25cf {labels[number][best]}"
    lowest, highest = float(cosines.min()), float(cosines.max())
    scale = _colors().Normalize(lowest, max(highest, lowest + 1e-6))
    _heat(axes, cosines, labels, "YlGnBu", scale, 10.5 if column > 60 else 8)
    for number in range(count):
        axes.add_patch(_outline(number, number))


def _passage_maps(passage: Passage) -> tuple[_Number, _Number, int]:
    """(width of a clip's column, side of a frame, clips from one frame to the next), of a map."""
    room = (WIDTH - 2 * _MARGIN - 2 * _WORD_LABELS - _MAPS_GAP) / 2
    column = min(180.0, room / len(passage.times))
    step = -(-60 // int(column))
    return column, _frame_side(column * step, bool(passage.frames)), step


def _passage_height(passage: Passage) -> _Number:
    _, side, _ = _passage_maps(passage)
    return 118 + side + 28 + _WORD_HEIGHT * len(passage.attention.words)


def _draw_passage(sheet: _Sheet, passage: Passage, top: _Number) -> None:
    attention = passage.attention
    heading = textwrap.shorten(f"\u201c{passage.text}\u201d", 110, placeholder=" \u2026\u201d")
    sheet.write(_MARGIN, top, heading, 15, weight="bold")
    sheet.write(_MARGIN, top + 28, passage.about, 10.5, color=_MUTED)
    half = (WIDTH - 2 * _MARGIN - _MAPS_GAP) / 2 + _MAPS_GAP
    by_text, by_video = attention.text_reads_video, attention.video_reads_text
    for number, (title, weights, even) in enumerate(
        (
            ("Words read clips: of each word, % over the clips", by_text, 1 / by_text.shape[1]),
            ("Clips read words: of each clip, % over the words", by_video.T, 1 / by_video.shape[1]),
        )
    ):
        left = _MARGIN + number * half
        sheet.write(left, top + 66, title, 12, weight="bold")
        _draw_attention(sheet, passage, weights, even, left, top + 98)


def _draw_attention(
    sheet: _Sheet,
    passage: Passage,
    weights: Float[np.ndarray, "w v"],
    even: _Number,
    left: _Number,
    top: _Number,
) -> None:
    """A map of words (rows) and clips (columns), with frames above and words beside.

    `even` is the weight that each would have if all had the same.
    """
    column, side, step = _passage_maps(passage)
    left += _WORD_LABELS
    times_top = top + side + 4
    map_top = times_top + 22
    for number in range(0, len(passage.times), step):
        middle = left + (number + min(step, len(passage.times) - number) / 2) * column
        if passage.frames:
            sheet.frame(middle - side / 2, top, side, passage.frames[number])
        sheet.write(middle, times_top, _clock(passage.times[number], 1), 9, ha="center")
    for number, word in enumerate(passage.attention.words):
        row = map_top + (number + 0.5) * _WORD_HEIGHT
        special = word.text.startswith("[") and word.text.endswith("]")
        text = textwrap.shorten(word.text, 14, placeholder="\u2026") or word.text[:13]
        colour = _MUTED if special else _INK
        sheet.write(left - 12, row, text, 11, ha="right", va="center", color=colour)
    height = _WORD_HEIGHT * len(weights)
    axes = sheet.axes(left, map_top, column * weights.shape[1], height)
    labels = [[f"{100 * value:.0f}" for value in row] for row in weights]
    scale = _colors().TwoSlopeNorm(even, 0.0, max(2 * even, float(weights.max())))
    colours = _colors().LinearSegmentedColormap.from_list("share", _SHARE_COLOURS)
    _heat(axes, weights, labels, colours, scale, 9.5 if column >= 30 else 0)


def _colors() -> Any:
    return extras.require("matplotlib.colors", "plots")


def _heat(
    axes: Any,
    values: Float[np.ndarray, "y x"],
    labels: Sequence[Sequence[str]],
    colours: Any,
    scale: Any,
    size: _Number,
) -> None:
    """Cells coloured by a colormap after `scale`, each with its label (size 0: without)."""
    mesh = axes.pcolormesh(values, cmap=colours, norm=scale, edgecolors=_GRID, linewidth=1.5)
    axes.set_xlim(0, values.shape[1])
    axes.set_ylim(values.shape[0], 0)
    if not size:
        return
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = mesh.cmap(float(scale(value)))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        axes.text(
            column + 0.5,
            row + 0.52,
            labels[row][column],
            fontsize=size,
            ha="center",
            va="center",
            color="white" if dark else _INK,
        )


def _outline(row: int, column: int) -> Any:
    patches = extras.require("matplotlib.patches", "plots")
    return patches.Rectangle(
        (column + 0.02, row + 0.04), 0.96, 0.92, fill=False, edgecolor=_INK, linewidth=2.2
    )


def _signed(value: np.floating) -> str:
    """Two decimals, never minus nothing."""
    return f"{round(float(value), 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _clock(seconds: _Number, decimals: int = 0) -> str:
    """0:07, or 0:07.5 with a decimal."""
    minutes, rest = divmod(round(seconds, decimals), 60)
    return f"{int(minutes)}:{rest:0{2 + (decimals and decimals + 1)}.{decimals}f}"
