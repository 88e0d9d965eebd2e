"""One page of HTML of what a network makes of lines and their clips: every layer, every head and
the rollout, to be chosen and pointed at. It needs no other file, and asks nobody."""

import base64
import dataclasses
import hashlib
import html
import importlib.resources
import io
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax.files import extras
from videobert_jax.inference.attention_maps import WordAttention

_STATIC = importlib.resources.files("videobert_jax.inference") / "static"
_SIDE = 112  # pixels of a frame
_QUALITY = 80
_Number = float | int


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the transcript, its number from 1, its times in seconds; numbers of its clips in
    the video and the second each starts at; its attention as `attend_everywhere` tells it."""

    number: int
    text: str
    start: _Number
    end: _Number
    clips: Sequence[int]
    times: Sequence[_Number]
    maps: Sequence[WordAttention]


@dataclasses.dataclass(frozen=True)
class Page:
    """All that is shown, the map `chosen` (line's place, layer, head) of WordAttention first.
    `frames`: uint8 [y, x, 3] by the clip's number, where there are any. `caption` is written below:
    what a reader must know."""

    title: str
    subtitle: str
    caption: str
    lines: Sequence[Line]
    frames: Mapping[int, np.ndarray]
    chosen: tuple[int, int | None, int | None]


def build(page: Page) -> str:
    """The page, as text. Raises MissingExtra where there are frames and Pillow is absent."""
    style = "".join(map(static, ("page.css", "attention.css")))
    script = "".join(map(static, ("attention.js", "attention_page.js")))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_sha256(style)}'; "
        f"script-src '{_sha256(script)}'; base-uri 'none'; form-action 'none'"
    )
    return string.Template(static("attention_page.html")).substitute(
        policy=policy,
        title=html.escape(page.title),
        subtitle=html.escape(page.subtitle),
        caption=html.escape(page.caption),
        style=style,
        script=script,
        data=_inside_script(_data(page)),
    )


def static(name: str) -> str:
    """A file of the page's style or program, which the demo page uses, too."""
    return (_STATIC / name).read_text("utf-8")


def plain(attention: WordAttention) -> dict[str, Any]:
    """Attention as values for JSON, weights to four decimals."""
    return {
        "words": [word.text for word in attention.words],
        "text_reads_video": attention.text_reads_video.round(4).tolist(),
        "video_reads_text": attention.video_reads_text.round(4).tolist(),
        "layer": attention.layer,
        "head": attention.head,
    }


def _data(page: Page) -> dict[str, Any]:
    place, layer, head = page.chosen
    return {
        "lines": [
            {
                "number": line.number,
                "text": line.text,
                "start": line.start,
                "end": line.end,
                "clips": list(line.clips),
                "times": list(line.times),
                "maps": [plain(of) for of in line.maps],
            }
            for line in page.lines
        ],
        "frames": {str(clip): _address(frame) for clip, frame in page.frames.items()},
        "chosen": {"line": place, "layer": layer, "head": head},
    }


def _inside_script(data: dict[str, Any]) -> str:
    """JSON that ends no element: what captions say stays text."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _address(frame: np.ndarray) -> str:
    image = extras.require("PIL.Image", "video").fromarray(frame).resize((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
