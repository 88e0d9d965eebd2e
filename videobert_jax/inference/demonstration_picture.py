"""One PNG of VideoBERT's two demonstrations, in frames, drawn with matplotlib without a display."""

import dataclasses
import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from videobert_jax.files import extras

_DPI = 100
_FRAME, _GAP, _TEXT, _MARGIN, _ROW = 88, 4, 250, 30, 100  # pixels
_GROUP_GAP = 26  # between what is shown, what is true and each word
_HEAD = 78  # of a section
_INK, _MUTED = "#1d2733", "#6b7785"
_Number = float | int
COLOURS = {"all": "#1a7f4b", "some": "#d9902b", "none": "#b8c1cb"}  # of a told clip's frame


@dataclasses.dataclass(frozen=True)
class Told:
    """A clip's frame [y, x, 3], and how it agrees with the question's labels: of COLOURS."""

    frame: np.ndarray
    agrees: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A question: its text, frames of groups that stand beside it, and of each told word clips."""

    text: str
    groups: Sequence[Sequence[np.ndarray]]
    words: Sequence[Sequence[Told]]


@dataclasses.dataclass(frozen=True)
class Section:
    """One row or more under a title; headings of their groups of frames; what is measured of all
    questions."""

    title: str
    about: str
    headings: Sequence[str]
    rows: Sequence[Row]


def draw(title: str, subtitle: str, sections: Sequence[Section]) -> bytes:
    """The picture. Raises MissingExtra where matplotlib is absent."""
    width = max(_MARGIN + _TEXT + sum(_column_widths(section.rows)) for section in sections)
    height = 84 + sum(_HEAD + _ROW * len(section.rows) + 22 for section in sections) + 34
    made = extras.require("matplotlib.figure", "plots").Figure(
        figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white"
    )
    sheet = _Sheet(made, width, height)
    sheet.write(_MARGIN, 20, title, 17, weight="bold")
    sheet.write(_MARGIN, 52, subtitle, 10, color=_MUTED)
    top = 84
    for section in sections:
        _draw_section(sheet, section, top)
        top += _HEAD + _ROW * len(section.rows) + 22
    legend = "Frames of told clips: green, all labels are the question's; orange, some; grey, none."
    sheet.write(_MARGIN, top + 4, legend, 10, color=_MUTED, style="italic")
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


@dataclasses.dataclass(frozen=True)
class _Sheet:
    """A page; places are pixels from its upper left corner."""

    figure: Any
    width: int
    height: int

    def write(self, left: _Number, top: _Number, text: str, size: _Number, **style: Any) -> None:
        style = {"color": _INK, "va": "top", **style}
        text = text.replace("$", r"\$")  # no formulas
        self.figure.text(left / self.width, 1 - top / self.height, text, fontsize=size, **style)

    def show(
        self, left: _Number, top: _Number, frame: np.ndarray, colour: str | None = None
    ) -> None:
        bottom = self.height - top - _FRAME
        places = (left / self.width, bottom / self.height, _FRAME / self.width)
        axes = self.figure.add_axes((*places, _FRAME / self.height))
        axes.imshow(frame, interpolation="antialiased")
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(colour is not None)
            side.set(edgecolor=colour, linewidth=3)


def _column_widths(rows: Sequence[Row]) -> list[int]:
    """Of each group of frames as many as the fullest row has there, and the gap behind them."""
    counts = [[len(group) for group in (*row.groups, *row.words)] for row in rows]
    return [max(of) * (_FRAME + _GAP) + _GROUP_GAP for of in zip(*counts, strict=True)]


def _draw_section(sheet: _Sheet, section: Section, top: _Number) -> None:
    sheet.write(_MARGIN, top, section.title, 13, weight="bold")
    sheet.write(_MARGIN, top + 24, section.about, 10, color=_MUTED)
    widths = _column_widths(section.rows)
    for number, row in enumerate(section.rows):
        middle = top + _HEAD + number * _ROW
        text = textwrap.fill(row.text, 34, max_lines=4, placeholder=" \u2026")
        sheet.write(_MARGIN, middle + _FRAME / 2, text, 10, va="center")
        start = _MARGIN + _TEXT
        groups = [[(frame, None) for frame in group] for group in row.groups]
        groups += [[(told.frame, COLOURS[told.agrees]) for told in word] for word in row.words]
        for heading, group, wide in zip(section.headings, groups, widths, strict=True):
            if not number:
                sheet.write(start, top + _HEAD - 20, heading, 9.5, color=_MUTED)
            for place, (frame, colour) in enumerate(group):
                sheet.show(start + place * (_FRAME + _GAP), middle, frame, colour)
            start += wide
