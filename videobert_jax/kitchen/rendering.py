"""A planned video as frames and as files."""

import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from videobert_jax.files import atomic
from videobert_jax.kitchen import corpus, counter, filming, palette, scene
from videobert_jax.kitchen.corpus import VideoPlan
from videobert_jax.kitchen.palette import Look
from videobert_jax.text.transcripts import subtitles
from videobert_jax.video import decode

FPS = 24  # of the rendered files


def render_frames(plan: VideoPlan, look: Look = palette.STANDARD) -> Iterator[np.ndarray]:
    """Frames `[224, 224, 3]` uint8 of a video at FPS, from first to last.

    In a pause the table of the step that follows is shown.
    """
    yield from _film(plan, range(round(plan.seconds * FPS)), look)


def render_moments(plan: VideoPlan, seconds: Sequence[float]) -> list[np.ndarray]:
    """Frames `[224, 224, 3]` uint8 at moments of a video, which rise, without those between."""
    last = round(plan.seconds * FPS) - 1
    return list(_film(plan, [min(round(moment * FPS), last) for moment in seconds]))


def _film(
    plan: VideoPlan, frames: Iterable[int], look: Look = palette.STANDARD
) -> Iterator[np.ndarray]:
    """Frames by their rising numbers, each of the step that goes on or comes next."""
    rng = corpus.random_stream(plan.index, corpus.STYLE_STREAM)
    style = counter.draw_style(look, rng, corpus.materials_of(plan.split))
    number, stage = -1, None
    for frame in frames:
        step = number
        while step < 0 or (
            step < len(plan.steps) - 1 and frame >= round(plan.steps[step].end * FPS)
        ):
            step += 1
        timed = plan.steps[step]
        if stage is None or step != number:
            rng = corpus.random_stream(plan.index, corpus.FIRST_SCENE_STREAM + step)
            number, stage = step, scene.set_up(timed.step, style, look, rng)
        seconds = frame / FPS - timed.start
        acting = 0 <= seconds < timed.step.seconds
        yield (filming.film_action if acting else filming.film_rest)(stage, seconds)


def render_video(
    plan: VideoPlan, output: pathlib.Path, look: Look = palette.STANDARD
) -> tuple[pathlib.Path, pathlib.Path]:
    """Paths of `NAME.mp4` (H.264) and `NAME.vtt` in `output`; those that are there are kept."""
    output.mkdir(parents=True, exist_ok=True)
    movie, captions = output / f"{plan.name}.mp4", output / f"{plan.name}.vtt"
    if not movie.exists():
        decode.write_frames(movie, render_frames(plan, look), FPS)
    if not captions.exists():
        _, cues = corpus.narrate(plan)
        atomic.write_text(captions, subtitles.write_webvtt(cues))
    return movie, captions
