"""Small films with subtitle tracks and sound, for tests: packets are muxed as they are given."""

import contextlib
import dataclasses
import fractions
import pathlib
import struct
from collections.abc import Sequence

import numpy as np

FIELDS = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
ASS_HEADER = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
    f"Style: Default,Arial,16\n\n[Events]\nFormat: {FIELDS}\n"
).encode()
SAID = ((1.0, 3.5, "cut the <i>onion</i>"), (4.0, 6.0, "stir & wait"), (7.25, 9.0, "done"))


@dataclasses.dataclass(frozen=True)
class Track:
    """codec: subrip, webvtt, mov_text, ass, dvd_subtitle. cues: (start, end, text or packet)."""

    codec: str = "subrip"
    cues: Sequence[tuple[float, float, str | bytes]] = SAID
    language: str = ""
    disposition: int = 0


def packet(codec: str, text: str) -> bytes:
    """A cue as a file of the codec holds it."""
    if codec == "mov_text":
        return struct.pack(">H", len(text.encode())) + text.encode()
    return (f"0,0,Default,,0,0,0,,{text}" if codec == "ass" else text).encode()


def write(
    path: pathlib.Path,
    tracks: Sequence[Track] = (),
    *,
    sound: str | None = None,
    delay: float = 0.0,
    seconds: int = 10,
) -> pathlib.Path:
    """A grey film, ten pictures a second; `sound`: language of its sound track, "" for one that
    names none. `delay`: seconds before the first picture."""
    import av

    with contextlib.closing(av.open(str(path), "w")) as container:
        video = container.add_stream("libvpx" if path.suffix == ".webm" else "libx264", rate=10)
        video.width = video.height = 16
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else container.add_stream("pcm_s16le", rate=16_000)
        if audio is not None:
            audio.layout = "mono"
        if audio is not None and sound:
            audio.metadata["language"] = sound
        streams = []
        for track in tracks:
            stream = container.add_stream(track.codec)
            stream.codec_context.subtitle_header = ASS_HEADER
            stream.metadata["language"] = track.language or "und"
            stream.disposition = track.disposition
            streams.append(stream)
        for number in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), number % 200, np.uint8))
            frame.pts, frame.time_base = number + round(10 * delay), fractions.Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            samples = np.zeros((1, 16_000 * seconds), np.int16)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate = 16_000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
        for track, stream in zip(tracks, streams, strict=True):
            for start, end, said in track.cues:
                content = said if isinstance(said, bytes) else packet(track.codec, said)
                made = av.Packet(content)
                made.stream, made.time_base = stream, fractions.Fraction(1, 1000)
                made.pts = made.dts = round(1000 * start)
                made.duration = round(1000 * (end - start))
                container.mux(made)
    return path
