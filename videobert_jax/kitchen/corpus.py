"""Which videos there are: recipes with their timing, splits and balanced counts."""

import collections
import dataclasses

import numpy as np

from videobert_jax.kitchen import narration, palette

SEED = 20250
STEPS = (4, 8)  # a recipe's fewest and most steps
SECONDS = (3.0, 5.0)  # a step's
PAUSE = (0.3, 1.0)
# Streams of random numbers, each keyed by (SEED, video, stream): one can change alone.
PLAN_STREAM, STYLE_STREAM, NARRATION_STREAM, FIRST_SCENE_STREAM = range(4)


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
    """Of ten videos in a row seven are for training, one for validation, two for the test."""
    return {4: "validation", 2: "test", 7: "test"}.get(index % 10, "train")


def plan_videos(count: int) -> list[VideoPlan]:
    """The first `count` videos of the corpus; a longer corpus begins with the same videos.

    Within each split verbs, objects, containers and tools are drawn with a preference for those
    that were rare so far, so that every beginning of the corpus is balanced.
    """
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    return [_plan_video(index, counts[split_of(index)]) for index in range(count)]


def _plan_video(index: int, counts: collections.Counter) -> VideoPlan:
    rng = random_stream(index, PLAN_STREAM)
    time = rng.uniform(0.5, 1.5)
    steps: list[TimedStep] = []
    done: set[tuple[str, str]] = set()
    for _ in range(int(rng.integers(STEPS[0], STEPS[1] + 1))):
        last = steps[-1].step.verb if steps else None
        verb = _draw_rare("verb", [v for v in palette.VERBS if v != last], counts, rng)
        objects = [o for o in palette.VERB_OBJECTS[verb] if (verb, o) not in done]
        chosen = _draw_rare("object", objects or palette.VERB_OBJECTS[verb], counts, rng)
        container = _draw_rare("container", palette.VERB_CONTAINERS[verb], counts, rng)
        tool = _draw_rare(f"tool to {verb}", palette.VERB_TOOLS[verb], counts, rng)
        done.add((verb, chosen))
        seconds = round(rng.uniform(*SECONDS), 2)
        step = Step(verb, chosen, container, tool, seconds)
        steps.append(TimedStep(round(time, 2), round(time + seconds, 2), step))
        time = steps[-1].end + rng.uniform(*PAUSE)
    name = f"kitchen_{index:04d}"
    return VideoPlan(index, name, split_of(index), round(time + 0.3, 2), tuple(steps))


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
