"""Videos and their subtitle tracks, through PyAV; and films that a browser sends to the demo."""

import pathlib
from typing import Any

from tests.drills.readers import Reader
from tests.video import subtitled
from videobert_jax.text.transcripts import TranscriptError
from videobert_jax.video import decode, subtitle_tracks
from videobert_jax.video.decode import VideoError


def _films(folder: pathlib.Path) -> None:
    subtitled.write(folder / "a.mp4", [subtitled.Track("mov_text")], seconds=3)
    subtitled.write(
        folder / "b.mkv", [subtitled.Track("subrip"), subtitled.Track("ass")], seconds=3
    )


def _read_frames(folder: pathlib.Path) -> Any:
    for file in sorted(folder.iterdir()):
        decode.duration(file)
        for number, _ in enumerate(decode.read_frames(file, 2, 16)):
            if number > 2000:  # whoever reads a film bounds its length, as the demo does
                break


def _read_tracks(folder: pathlib.Path) -> Any:
    return [subtitle_tracks.read_track(file) for file in sorted(folder.iterdir())]


READERS = [
    Reader(
        "film",
        ("video.decode", "video.speech"),
        _films,
        _read_frames,
        (VideoError,),
        packages=("av",),
        seconds=20,
        megabytes=1024,
        refuses_sizes=True,  # FFmpeg's
    ),
    Reader(
        "subtitle_track",
        ("video.subtitle_tracks",),
        _films,
        _read_tracks,
        (TranscriptError, VideoError),
        packages=("av",),
        seconds=20,
        megabytes=1024,
        refuses_sizes=True,  # FFmpeg's
    ),
]
