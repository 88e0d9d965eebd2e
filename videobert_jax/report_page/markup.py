"""HTML and SVG as text; whatever is not markup already is escaped."""

import base64
import html
from collections.abc import Iterable, Sequence

_VOID = frozenset({"img", "meta", "br"})


class Markup(str):
    """Text that is HTML."""


Child = str | None | Sequence["Child"]


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """An element. Children that are not Markup are escaped, and so are attributes, of which
    `class_` is class and others have - for _; None and empty lists are left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other."""
    return Markup("".join(map(_text, children)))


def _text(child: Child) -> str:
    if child is None or isinstance(child, Markup):
        return child or ""
    return html.escape(child) if isinstance(child, str) else join(child)


def name(text: str) -> Markup:
    """A name of a figure or system, which may be broken behind its underscores."""
    return Markup(html.escape(text).replace("_", "_<wbr>"))


def picture(jpeg: bytes, description: str) -> Markup:
    """An image that travels inside the page."""
    data = base64.b64encode(jpeg).decode("ascii")
    return tag("img", src=f"data:image/jpeg;base64,{data}", alt=description)


def table(header: Sequence[Child], rows: Iterable[Sequence[Child]], **attributes: object) -> Markup:
    """A table whose first column names the rows; where it is too wide it scrolls by itself."""
    head = tag("tr", [tag("th", cell, scope="col") for cell in header])
    body = [
        tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in others])
        for first, *others in rows
    ]
    whole = tag("table", tag("thead", head), tag("tbody", body), **attributes)
    return tag("div", whole, class_="scroll", tabindex="0")
