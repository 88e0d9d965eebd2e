"""Drawings without a program: bars of HTML, curves and confusion matrices of SVG."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.report_page import markup
from videobert_jax.report_page.markup import Markup, tag

NUM_COLOURS = 7  # of the style's --s0 to --s6
_WIDTH, _HEIGHT = 440, 270  # of curves
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 36


@dataclasses.dataclass(frozen=True)
class Bar:
    """A value in shares of the track, how it is written, and its interval where it has one."""

    name: str
    share: float
    text: str
    interval: tuple[float, float] | None = None
    own: bool = False


def bars(groups: Mapping[str, Sequence[Bar]]) -> Markup:
    """Bars in groups, one below the other, each beside its number."""
    return tag(
        "div",
        [
            tag(
                "div",
                tag("div", markup.name(name), class_="name"),
                [_bar(bar) for bar in of],
                class_="group",
            )
            for name, of in groups.items()
        ],
        class_="bars",
    )


def _bar(bar: Bar) -> Markup:
    inside = [tag("span", class_="fill", style=f"width:{_percent(bar.share)}")]
    if bar.interval is not None:
        low, high = bar.interval
        place = f"left:{_percent(low)};width:{_percent(high - low)}"
        inside.append(tag("span", class_="whisker", style=place))
    return tag(
        "div",
        tag("span", bar.name, class_="who", title=bar.name),
        tag("span", inside, class_="track"),
        tag("span", bar.text, class_="value"),
        class_="bar own" if bar.own else "bar",
    )


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def curves(
    series: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]],
    *,
    logarithmic: bool,
    across: str,
) -> Markup:
    """Shares (y, 0 to 1) over x, a line each, in the order of the style's colours, with a legend.

    across: what x is. Where it is logarithmic it begins at 1.
    """
    least = 1.0 if logarithmic else 0.0
    most = max(float(x.max()) for x, _ in series.values())
    most = max(most, least + 1) if logarithmic else most or 1.0

    def right(x: float) -> float:
        part = math.log(x) / math.log(most) if logarithmic else x / most
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _TOP + (1 - y) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = f"{down(share):.1f}"
        drawn.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        label = f"{100 * share:.0f} %"
        drawn.append(tag("text", label, x=_LEFT - 6, y=f"{down(share) + 4:.1f}",
                         text_anchor="end", class_="soft"))  # fmt: skip
    for value in _ticks(most, logarithmic):
        place = f"{right(value):.1f}"
        drawn.append(tag("line", x1=place, x2=place, y1=_TOP, y2=_HEIGHT - _BOTTOM, class_="grid"))
        drawn.append(tag("text", f"{value:g}", x=place, y=_HEIGHT - _BOTTOM + 15,
                         text_anchor="middle", class_="soft"))  # fmt: skip
    drawn.append(tag("text", across, x=(_LEFT + _WIDTH) / 2, y=_HEIGHT - 4,
                     text_anchor="middle", class_="soft"))  # fmt: skip
    names = list(series)
    for place, name in reversed(list(enumerate(names))):  # the first on top
        x, y = series[name]
        points = " L".join(
            f"{right(float(a)):.1f},{down(float(b)):.1f}" for a, b in zip(x, y, strict=True)
        )
        style = f"stroke:var(--s{place % NUM_COLOURS}){';stroke-dasharray:6 4' if place else ''}"
        drawn.append(tag("path", tag("title", name), d=f"M{points}", style=style))
    legend = [
        tag(
            "span",
            tag(
                "span",
                class_="key",
                style=f"border-color:var(--s{place % NUM_COLOURS})"
                f"{';border-top-style:dashed' if place else ''}",
            ),
            name,
        )  # fmt: skip
        for place, name in enumerate(names)
    ]
    view = f"0 0 {_WIDTH} {_HEIGHT}"
    described = f"{', '.join(names)} over {across}"
    svg = tag("svg", drawn, viewBox=view, role="img", aria_label=described)
    return markup.join([svg, tag("div", legend, class_="legend")])


def _ticks(most: float, logarithmic: bool) -> list[float]:
    if logarithmic:
        powers = range(math.floor(math.log10(most)) + 1)
        every = [factor * 10.0**power for power in powers for factor in (1, 5)]
        return [value for value in every if value <= most]
    step = 10 ** math.floor(math.log10(most))
    step = step / 5 if most / step <= 2 else step / 2 if most / step <= 5 else step
    return [number * step for number in range(math.floor(most / step + 1e-9) + 1)]


def confusion(names: Sequence[str], counts: Int[np.ndarray, "n n"]) -> Markup:
    """How often what is right (rows) was told as what (columns); darker for more of its row."""
    cell, left, top = (34, 118, 96) if len(names) <= 8 else (23, 92, 84)
    side = cell * len(names)
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = []
    for row, name in enumerate(names):
        middle = top + (row + 0.5) * cell
        drawn.append(tag("text", name, x=left - 6, y=f"{middle + 4:.1f}", text_anchor="end"))
        place = left + (row + 0.5) * cell + 4
        turned = f"rotate(-60 {place:.1f} {top - 6})"
        drawn.append(tag("text", name, x=f"{place:.1f}", y=top - 6, transform=turned))
    for (row, column), count in np.ndenumerate(counts):
        share = float(count / totals[row, 0])
        colour = "var(--right)" if row == column else "var(--wrong)"
        said = f"{names[row]} told as {names[column]}: {count} of {totals[row, 0]}"
        x, y = left + column * cell, top + row * cell
        fill = f"fill:{colour};fill-opacity:{0.06 + 0.86 * share:.2f}" if count else "fill:none"
        drawn.append(tag("rect", tag("title", said), x=x, y=y, width=cell - 1, height=cell - 1,
                         style=f"{fill};stroke:var(--line)"))  # fmt: skip
        if count:
            ink = "fill:var(--paper)" if share > 0.55 else "fill:var(--ink)"
            drawn.append(tag("text", str(count), x=f"{x + cell / 2:.1f}",
                             y=f"{y + cell / 2 + 4:.1f}", text_anchor="middle",
                             style=ink))  # fmt: skip
    view = f"0 0 {left + side + 40} {top + side + 4}"
    label = f"Confusion matrix of {len(names)} labels"
    return tag("svg", drawn, viewBox=view, role="img", aria_label=label)
