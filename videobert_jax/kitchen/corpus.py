"""Which videos there are: recipes with their timing, splits and balanced counts."""

import collections
import dataclasses
import re

import numpy as np

from videobert_jax.kitchen import narration, palette

TRAIN, VALIDATION, TEST = "train", "validation", "test"
UNSEEN_BACKGROUNDS, UNSEEN_PAIRS = "test_unseen_backgrounds", "test_unseen_pairs"
# Tests first: whoever makes a part of the corpus can measure with it.
_FIRST_VIDEOS = {TEST: 0, UNSEEN_BACKGROUNDS: 40, UNSEEN_PAIRS: 80, VALIDATION: 120, TRAIN: 140}

SEED = 20251
NUM_VIDEOS = 380  # with pictures
VIDEO_NAME = re.compile(r"kitchen_(\d{1,6})")
TRANSCRIPTS = range(1000, 1400)  # recipes that are told but never rendered
STEPS = (4, 8)  # a recipe's fewest and most steps
SECONDS = (3.0, 5.0)  # a step's
PAUSE = (0.3, 1.0)
STAGE_NOISE = 0.7  # deviation, in stages, of a step's place in the recipe
# Streams of random numbers, each keyed by (SEED, video, stream): one can change alone.
PLAN_STREAM, STYLE_STREAM, NARRATION_STREAM, FIRST_SCENE_STREAM = range(4)
CANDIDATE_STREAM = 1000  # behind those of the scenes, one a step


@dataclasses.dataclass(frozen=True)
class Step:
    """What is done to what, in what, with what, for how long."""

    verb: str
    object: str
    container: str
    tool: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class TimedStep:
    """A step and its exact interval in the video, in seconds."""

    start: float
    end: float
    step: Step


@dataclasses.dataclass(frozen=True)
class VideoPlan:
    """Everything about a video but its pictures and words; `index` seeds those."""

    index: int
    name: str
    split: str
    seconds: float
    steps: tuple[TimedStep, ...]


def random_stream(index: int, stream: int) -> np.random.Generator:
    """Random numbers that belong to one purpose in one video."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([SEED, index, stream])))


def split_of(index: int) -> str:
    """The split of a video: the last one that begins at its number or before."""
    return [split for split, first in _FIRST_VIDEOS.items() if first <= index][-1]


def plan_videos(count: int) -> list[VideoPlan]:
    """The first `count` videos of the corpus; a longer corpus begins with the same videos.

    Within each split verbs, objects, containers and tools are drawn with a preference for those
    that were rare so far, so that every beginning of a split is balanced.
    """
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    return [_plan_video(index, counts[split_of(index)]) for index in range(count)]


def objects_of(verb: str, split: str) -> list[str]:
    """What the verb is done to in a split."""
    unseen = split == UNSEEN_PAIRS
    return [o for o in palette.VERB_OBJECTS[verb] if ((verb, o) in palette.UNSEEN_PAIRS) == unseen]


def materials_of(split: str) -> tuple[str, ...]:
    """Of what worktops are in a split."""
    return palette.UNSEEN_MATERIALS if split == UNSEEN_BACKGROUNDS else palette.MATERIALS


def _plan_video(index: int, counts: collections.Counter) -> VideoPlan:
    rng = random_stream(index, PLAN_STREAM)
    split = split_of(index)
    drawn: list[Step] = []
    for _ in range(int(rng.integers(STEPS[0], STEPS[1] + 1))):
        drawn.append(_draw_step(drawn, split, counts, rng))
    stages = [palette.VERB_STAGES[step.verb] + STAGE_NOISE * rng.normal() for step in drawn]
    time = rng.uniform(0.5, 1.5)
    steps: list[TimedStep] = []
    for place in np.argsort(stages):
        step = drawn[place]
        steps.append(TimedStep(round(time, 2), round(time + step.seconds, 2), step))
        time = steps[-1].end + rng.uniform(*PAUSE)
    return VideoPlan(index, f"kitchen_{index:04d}", split, round(time + 0.3, 2), tuple(steps))


def _draw_step(
    before: list[Step], split: str, counts: collections.Counter, rng: np.random.Generator
) -> Step:
    """A step that is not yet in the recipe."""
    done = {(step.verb, step.object) for step in before}
    free = {
        verb: [o for o in objects_of(verb, split) if (verb, o) not in done]
        for verb in palette.VERBS
    }
    verb = _draw_rare("verb", [verb for verb in palette.VERBS if free[verb]], counts, rng)
    return Step(
        verb,
        _draw_rare("object", free[verb], counts, rng),
        _draw_rare("container", palette.VERB_CONTAINERS[verb], counts, rng),
        _draw_rare(f"tool to {verb}", palette.VERB_TOOLS[verb], counts, rng),
        round(rng.uniform(*SECONDS), 2),
    )


def _draw_rare(kind: str, options, counts: collections.Counter, rng: np.random.Generator) -> str:
    used = np.array([counts[kind, option] for option in options], np.float64)
    weights = (1 + used - used.min()) ** -3.0
    drawn = options[int(rng.choice(len(options), p=weights / weights.sum()))]
    counts[kind, drawn] += 1
    return drawn


def narrate(plan: VideoPlan) -> tuple[list[str], list[narration.Cue]]:
    """(a sentence a step, the noisy transcript) of a video."""
    rng = random_stream(plan.index, NARRATION_STREAM)
    sentences = [
        narration.describe_step(t.step.verb, t.step.object, t.step.container, rng)
        for t in plan.steps
    ]
    intervals = [(timed.start, timed.end) for timed in plan.steps]
    return sentences, narration.transcribe(sentences, intervals, rng)
