"""Film strips of evaluated segments, where the video can be drawn again."""

import functools
import importlib.util
import io
from collections.abc import Mapping
from typing import Any

from videobert_jax.report_page import markup
from videobert_jax.report_page.markup import Markup

FRAMES = 4  # of a strip
_SIDE = 112  # pixels of one
_QUALITY = 80


class KitchenStrips:
    """Strips of segments of the embedded corpus, drawn by its renderer; None of other videos, and
    where the renderer's extra is not installed."""

    def __init__(self) -> None:
        self._available = importlib.util.find_spec("PIL") is not None
        self._plans: list[Any] = []

    def strip(self, line: Mapping[str, Any]) -> Markup | None:
        """The frames of an example's line, which has a video, and its seconds from start to end."""
        index = self._index(line)
        if index is None:
            return None
        start, end = float(line["start"]), float(line["end"])
        described = f"{FRAMES} frames of {line['video']}, {start:.1f} to {end:.1f} s"
        return markup.picture(self._jpeg(index, start, end), described)

    def _index(self, line: Mapping[str, Any]) -> int | None:
        if not self._available or not {"start", "end"} <= line.keys():
            return None
        from videobert_jax.kitchen import corpus

        match = corpus.VIDEO_NAME.fullmatch(str(line["video"]))
        return int(match[1]) if match else None

    @functools.cache  # noqa: B019 - as long as the page is made
    def _jpeg(self, index: int, start: float, end: float) -> bytes:
        from PIL import Image

        from videobert_jax.kitchen import corpus, rendering

        if index >= len(self._plans):
            self._plans = corpus.plan_videos(max(index + 1, corpus.NUM_VIDEOS))
        moments = [start + (end - start) * (k + 0.5) / FRAMES for k in range(FRAMES)]
        sheet = Image.new("RGB", (FRAMES * _SIDE, _SIDE))
        for place, frame in enumerate(rendering.render_moments(self._plans[index], moments)):
            sheet.paste(Image.fromarray(frame).resize((_SIDE, _SIDE)), (place * _SIDE, 0))
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()
