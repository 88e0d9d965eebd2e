"""Steps found in whole videos, by the protocol of CrossTask (Zhukov et al. 2019, section 5).

Every second of a video scores each step of its task by the clip that is nearest to it, and
`metrics.step_localization` puts every step once, in order. A step that does not occur is put
somewhere too and counts for nothing. Where a video is a task of its own, its steps at equal
distances are found by whoever sees nothing: then it is looked for in a row of videos.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from videobert_jax.data.index import Split
from videobert_jax.tasks import (
    baselines,
    procedures,
    report,
    supervised,
    trained_heads,
    whole_videos,
)
from videobert_jax.tasks.context import EvaluatedSplit, EvaluationContext
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit
from videobert_jax.tasks.metrics import step_localization as metric
from videobert_jax.tasks.metrics.statistic import Statistic
from videobert_jax.tasks.procedures import Procedure
from videobert_jax.tasks.report import TaskResult
from videobert_jax.tasks.whole_videos import VideoClips

NAME = "step_localization"
RECALL = "average_recall"
OF_ALL = "_of_all"
OTHER_VIDEOS = 4  # beside a video that is a task of its own
_NETWORK, _SHUFFLED, _EVEN, _CHANCE = "", "shuffled_clips", "evenly_spread", "chance"


@dataclasses.dataclass(frozen=True)
class Settings:
    """neighbours: clips on either side that a clip is encoded with. other_videos: in whose row a
    video is looked for; None takes OTHER_VIDEOS, or all there are, where videos are tasks of their
    own, else 0."""

    neighbours: int
    other_videos: int | None


# Clips of whole videos -> scores [clips, steps] of some of the clips for texts, by their numbers.
Scores = Callable[[slice, Int[np.ndarray, " k"]], Float[np.ndarray, "n k"]]
Scorer = Callable[[VideoClips], Scores]


@dataclasses.dataclass(frozen=True)
class _Search:
    """Where the steps of a procedure are looked for: seconds of videos, one behind another.

    begins: the first second of each video, and all seconds. own: which of the videos is its own.
    """

    procedure: Procedure
    videos: tuple[int, ...]
    begins: Int[np.ndarray, " w"]
    own: int

    @property
    def seconds(self) -> int:
        return int(self.begins[-1])

    @property
    def begin(self) -> int:
        """The first second of its own video."""
        return int(self.begins[self.own])

    def true(self) -> Bool[np.ndarray, "t k"]:
        moved = [(k, a + self.begin, b + self.begin) for k, a, b in self.procedure.segments]
        steps = len(self.procedure.texts)
        return metric.true_seconds(moved, seconds=self.seconds, steps=steps)


@dataclasses.dataclass(frozen=True)
class _Put:
    """What a system found of one procedure: the second of each step (of chance, which has all of
    them, -1), and how likely it is one of its own."""

    seconds: Int[np.ndarray, " k"]
    found: Float[np.ndarray, " k"]


def unfit(split: Split) -> str | None:
    """Why a split is none of whole videos with steps; None where it is."""
    follows = (split.video[1:] == split.video[:-1]) & (split.start[1:] != split.start[:-1])
    if not follows.any():
        return f"no video of split {split.name!r} has examples one after another"
    if not split.clip_count.max(initial=0) or not split.contract.stride_seconds > 0:
        return f"split {split.name!r} has no clips in time"
    return None


def evaluate(context: EvaluationContext, settings: Settings) -> TaskResult:
    """Average recall of the network beside chance, steps at equal distances, the network's scores
    in another order of seconds, and linear baselines under the same dynamic programme.

    Videos are left out, and counted, whose steps cannot be put: they have none, one of them takes
    no time, or there are fewer seconds. Raises UnfitSplit where a split is `unfit` or no video is
    left; EvaluationError where a task has no descriptions, features are damaged, and on settings
    that cannot be.
    """
    trained_heads.require(context, trained_heads.JOINT, NAME)
    whole_videos.require_run(context.bundle, settings.neighbours)
    return _evaluate(
        context,
        settings,
        lambda texts: _scorers(context, texts, settings.neighbours),
        context.bundle.data.parallel_reads,
    )


def evaluate_scores(
    context: EvaluatedSplit,
    scorer_of: Callable[[Sequence[str]], Scorer],
    *,
    other_videos: int | None,
    parallel_reads: int,
) -> TaskResult:
    """The same of another system, which scores each clip by itself, given the texts of all steps;
    beside it what needs no training. Raises as `evaluate`."""
    return _evaluate(
        context,
        Settings(0, other_videos),
        lambda texts: ({_NETWORK: scorer_of(texts)}, []),
        parallel_reads,
    )


def _evaluate(
    context: EvaluatedSplit,
    settings: Settings,
    scorers_of: Callable[[Sequence[str]], tuple[dict[str, Scorer], list[str]]],
    parallel_reads: int,
) -> TaskResult:
    """scorers_of: {system: what it makes of clips} and notes, of the texts of all steps."""
    split = context.split
    if reason := unfit(split):
        raise UnfitSplit(f"{context.dataset.path}: {reason}; evaluate another split.")
    every, left_out = _procedures(context)
    present = [p for p in every if split.num_clips[p.video] > 0]
    absent = [p for p in every if split.num_clips[p.video] == 0]
    searches = _searches(context, present, settings)
    texts = list(dict.fromkeys(text for p in present for text in p.texts))
    scorers, notes = scorers_of(texts)
    notes = [*notes, *left_out]
    puts = _put_all(context, searches, texts, scorers, parallel_reads)
    average, of_tasks = _recall(searches, puts[_NETWORK])
    metrics = {RECALL: average}
    if absent:
        metrics[RECALL + OF_ALL] = _recall(searches, puts[_NETWORK], absent)[0]
        notes = [*notes, f"*{OF_ALL} has the steps of {len(absent)} videos without clips as misses"]
    lines = _lines(context, searches, puts)
    return TaskResult(
        task=NAME,
        expected=np.array([line["example_id"] for line in lines]),
        protocol=_protocol(context, searches),
        averaging="found steps of all videos of a task by those that occur; mean over tasks",
        truncation={},
        metrics=metrics,
        baselines={name: {RECALL: _recall(searches, of)[0]} for name, of in puts.items() if name},
        examples=lines,
        details={
            report.ANSWERED_BY: f"a clip encoded {whole_videos.encoded(settings.neighbours)}",
            "num_tasks": len(of_tasks),
            "num_videos": len(present),
            "num_absent_videos": len(absent),
            "num_left_out": len(whole_videos.among(split, context.ids)) - len(every),
            "num_seconds": sum(search.seconds for search in searches),
            "clip_neighbours": settings.neighbours,
            "recall_of_tasks": of_tasks,
        },
        notes=notes,
        statistics={RECALL: Statistic.mean("found", weight=("weight",))},
        absent=np.array([e for p in absent for e in p.examples if e >= 0], np.int64),
    )


def _procedures(context: EvaluatedSplit) -> tuple[list[Procedure], list[str]]:
    """(those whose steps can be put, a note on the other videos)."""
    split = context.split
    videos = whole_videos.among(split, context.ids)
    every = procedures.of_videos(context.dataset, split, videos)
    found = [procedure for procedure in every if procedures.can_be_put(split, procedure)]
    if not any(split.num_clips[procedure.video] > 0 for procedure in found):
        raise UnfitSplit(
            f"none of the {len(videos)} videos of split {split.name!r} of {context.dataset.path} "
            "under evaluation has clips and steps that can be put; name another split."
        )
    if len(found) == len(videos):
        return found, []
    missing = sorted(set(videos.tolist()) - {procedure.video for procedure in found})
    names = ", ".join(split.videos[video] for video in missing[:5])
    note = f"{len(missing)} videos are left out, whose steps cannot be put: the first are {names}"
    return found, [note]


def _searches(
    context: EvaluatedSplit, present: Sequence[Procedure], settings: Settings
) -> list[_Search]:
    """Of every procedure, the videos in whose row it is looked for, in an order drawn by seed."""
    split, videos = context.split, np.array([p.video for p in present])
    others = settings.other_videos
    if others is None:
        has_tasks = procedures.has_tasks(context.dataset)
        others = 0 if has_tasks else min(OTHER_VIDEOS, len(videos) - 1)
    if not 0 <= others < len(videos):
        raise EvaluationError(
            f"steps of a video among {others} others; expected 0 or more, and {len(videos)} videos "
            f"have {len(videos) - 1} others at most."
        )
    seconds = {v: whole_videos.num_seconds(split, v) for v in videos.tolist()}
    found = []
    for procedure in present:
        random = np.random.default_rng([context.seed, procedure.video])
        row = random.permutation(videos[videos != procedure.video])[:others].tolist()
        own = int(random.integers(others + 1))
        row.insert(own, procedure.video)
        begins = np.concatenate([[0], np.cumsum([seconds[v] for v in row])])
        found.append(_Search(procedure, tuple(row), begins, own))
    return found


def _scorers(
    context: EvaluationContext, texts: Sequence[str], neighbours: int
) -> tuple[dict[str, Scorer], list[str]]:
    """({system: what it makes of clips}, notes): the network, and linear baselines."""
    runner = context.runner
    embedded = runner.text_embeddings(runner.sentences(texts))
    scorers = {_NETWORK: _scorer(lambda c: whole_videos.embed(runner, c, neighbours), embedded)}
    fitted, notes = supervised.retrievals(context)
    for name, of in fitted.items():
        scorers[name] = _scorer(
            functools.partial(_predicted, of.model, neighbours), of.model.vectors.transform(texts)
        )
    return scorers, notes


def _scorer(
    vectors_of: Callable[[VideoClips], Float[np.ndarray, "n q"]], texts: Float[np.ndarray, "u q"]
) -> Scorer:
    """Scores that are products of a vector a clip with one a text."""

    def prepare(clips: VideoClips) -> Scores:
        vectors = vectors_of(clips)
        return lambda chosen, rows: vectors[chosen] @ texts[rows].T

    return prepare


def _predicted(
    model: baselines.RidgeRetrieval, neighbours: int, clips: VideoClips
) -> Float[np.ndarray, "n q"]:
    """Words that a linear model expects of each clip, of norm 1."""
    return baselines.unit_rows(model.ridge.predict(clips.means(neighbours)))


def _put_all(
    context: EvaluatedSplit,
    searches: Sequence[_Search],
    texts: Sequence[str],
    scorers: Mapping[str, Scorer],
    parallel_reads: int,
) -> dict[str, list[_Put]]:
    """What every system finds in every search. Clips are read and encoded once, and scores of a row
    are kept until it is whole."""
    split = context.split
    number = {text: i for i, text in enumerate(texts)}
    scores: dict[int, dict[str, np.ndarray]] = {}  # search -> {system: scores [seconds, steps]}
    missing = [len(search.videos) for search in searches]
    puts: dict[str, dict[int, _Put]] = {name: {} for name in (*scorers, _SHUFFLED)}
    wanted: dict[int, list[tuple[int, int]]] = {}  # video -> (search, place in its row)
    for which, search in enumerate(searches):
        for place, video in enumerate(search.videos):
            wanted.setdefault(video, []).append((which, place))
    for clips in whole_videos.read(split, sorted(wanted), parallel_reads):
        of_clips = {name: prepare(clips) for name, prepare in scorers.items()}
        for i, video in enumerate(clips.videos.tolist()):
            chosen = slice(int(clips.starts[i]), int(clips.starts[i + 1]))
            for which, place in wanted[video]:
                search = searches[which]
                rows = np.array([number[text] for text in search.procedure.texts])
                begin, end = search.begins[place : place + 2].tolist()
                at = whole_videos.clips_of_seconds(split, video, end - begin)
                if which not in scores:
                    size = search.seconds, len(rows)
                    scores[which] = {name: np.zeros(size, np.float32) for name in scorers}
                for name, of in of_clips.items():
                    scores[which][name][begin:end] = of(chosen, rows)[at]
                missing[which] -= 1
                if not missing[which]:
                    for name, of in _shuffled_too(search, scores.pop(which), context.seed).items():
                        puts[name][which] = _put(search, of)
    in_order = {name: [of[i] for i in range(len(searches))] for name, of in puts.items()}
    return in_order | _without_scores(searches)


def _shuffled_too(
    search: _Search, scores: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """And the network's in another order of seconds."""
    random = np.random.default_rng([seed, search.procedure.video])
    return {**scores, _SHUFFLED: random.permutation(scores[_NETWORK])}


def _put(search: _Search, scores: Float[np.ndarray, "t k"]) -> _Put:
    return _at(search, metric.assign(scores.astype(np.float64)))


def _at(search: _Search, seconds: Int[np.ndarray, " k"]) -> _Put:
    return _Put(seconds, metric.hits(seconds, search.true()).astype(np.float64))


def _without_scores(searches: Sequence[_Search]) -> dict[str, list[_Put]]:
    """What is found without seeing anything: the exact expectation of steps at seconds drawn
    without replacement, and steps at equal distances."""
    chance, even = [], []
    for search in searches:
        sizes = search.seconds, len(search.procedure.texts)
        likely = (metric.chance(*sizes) * search.true()).sum(axis=0)
        chance.append(_Put(np.full(sizes[1], -1), likely))
        even.append(_at(search, metric.evenly_spread(*sizes)))
    return {_CHANCE: chance, _EVEN: even}


def _recall(
    present: Sequence[_Search], puts: Sequence[_Put], absent: Sequence[Procedure] = ()
) -> tuple[float, dict[str, float]]:
    """(average recall, that of each task); nothing is found of the `absent`."""
    found = [
        metric.Found(s.procedure.task, float(put.found.sum()), s.procedure.num_shown)
        for s, put in zip(present, puts, strict=True)
    ]
    return metric.average_recall(
        [*found, *(metric.Found(p.task, 0.0, p.num_shown) for p in absent)]
    )


def _lines(
    context: EvaluatedSplit, searches: Sequence[_Search], puts: Mapping[str, Sequence[_Put]]
) -> list[dict[str, Any]]:
    """A line a step that a video shows. weight: a task's steps share one."""
    shown = collections.Counter()
    for search in searches:
        shown[search.procedure.task] += search.procedure.num_shown
    lines = []
    for which, search in enumerate(searches):
        procedure, own = search.procedure, puts[_NETWORK][which]
        for step in np.flatnonzero(np.array(procedure.examples) >= 0).tolist():
            lines.append(
                {
                    **context.line(procedure.examples[step]),
                    "task": procedure.task,
                    "step": step,
                    "text": procedure.texts[step],
                    "second": int(own.seconds[step]) - search.begin,
                    "found": float(own.found[step]),
                    "weight": 1 / shown[procedure.task],
                    "baselines": {
                        name: {"found": float(of[which].found[step])}
                        for name, of in puts.items()
                        if name != _NETWORK
                    },
                }
            )
    return lines


def _protocol(context: EvaluatedSplit, searches: Sequence[_Search]) -> str:
    """What the figures are of, in words."""
    named = context.dataset.metadata.get("protocols", {}).get(context.split.name, "")
    others = len(searches[0].videos) - 1
    parts = [
        *([f"{named}."] if named else []),
        "A dynamic programme puts each step of a video's task once, in order, at the seconds that "
        "score most together, each second by the clip nearest to its middle; found: inside one of "
        "its true segments (floor of the start to ceil of the end).",
    ]
    if not procedures.has_tasks(context.dataset):
        parts.append("Each video is a task of its own, with its own steps in their order.")
    if others:
        parts.append(
            f"It is looked for in a row of {others + 1} videos, {others} of them drawn by seed "
            f"{context.seed}, and so is its place."
        )
    return " ".join(parts)
