"""What is done in every second of whole videos: one of a declared list of steps, or none of them.

COIN's protocol (Tang et al. 2019, section 5): accuracy over all seconds, background included. By
the joint space nothing is learnt for it but one number (VideoCLIP, Xu et al. 2021, section 5): a
clip is the label whose sentence is most like it, or background where none is more like it than a
threshold, which is chosen on the training split.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from videobert_jax.data import clip_labels
from videobert_jax.data.index import Split
from videobert_jax.schema import NO_LABEL
from videobert_jax.tasks import (
    baselines,
    labels,
    prompts,
    report,
    supervised,
    trained_heads,
    whole_videos,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit
from videobert_jax.tasks.fits import MAX_EXAMPLES
from videobert_jax.tasks.metrics import segmentation as metric
from videobert_jax.tasks.metrics.segmentation import Counts
from videobert_jax.tasks.procedures import STEP
from videobert_jax.tasks.report import TaskResult
from videobert_jax.tasks.whole_videos import VideoClips
from videobert_jax.text import templates

NAME = "action_segmentation"
HEAD, JOINT_SPACE = "head", "joint_space"
SCORINGS = (HEAD, JOINT_SPACE)
_SHUFFLED, _WITHHELD = "shuffled_clips", "video_withheld"
# Clips of whole videos -> number of the label of each, that of background behind those of steps.
_Answers = Callable[[VideoClips], Int[np.ndarray, " n"]]
_Labelled = tuple[VideoClips, Int[np.ndarray, " n"]]  # clips of whole videos, the number of each


@dataclasses.dataclass(frozen=True)
class Settings:
    """scoring: one of SCORINGS; None takes the head where there is one. kind: of labels; None takes
    that of the head, else STEP, else the first that the split has. template: a sentence
    with {kind}; None takes the paper's, the dataset's, or the label alone. threshold: of cosines,
    below which a clip is background; None chooses it on the training split. neighbours: clips on
    either side that a clip is encoded with."""

    scoring: str | None
    kind: str | None
    template: str | None
    threshold: float | None
    neighbours: int


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The labels that are told: their kind and how they are said, by number."""

    kind: str
    forms: labels.Forms

    @property
    def background(self) -> int:
        return len(self.forms)

    def numbers(self, split: Split) -> Int[np.ndarray, " n"]:
        """Of the examples' labels, NO_LABEL where they have none."""
        return labels.ids_of(split, self.kind, self.forms)

    def or_background(self, found: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        return np.where(found == NO_LABEL, self.background, found)


def unfit(split: Split) -> str | None:
    """Why a split is none of whole videos with labels in time; None where it is."""
    if not split.labels:
        return f"split {split.name!r} has no labels"
    if not split.clip_count.max(initial=0) or not split.contract.stride_seconds > 0:
        return f"split {split.name!r} has no clips in time"
    return None


def evaluate(context: EvaluationContext, settings: Settings) -> TaskResult:
    """Frame accuracy of the network beside chance, one answer for all, its own answers in another
    order of seconds, and a linear model of labelled clips.

    Raises UnfitSplit where the split is `unfit`, no video is whole, or there is nothing to choose
    a threshold on; EvaluationError where features are damaged, and on settings that cannot be.
    """
    split, asked = context.split, _asked(context, settings)
    videos, absent = _whole_videos(context)
    training = list(_training_clips(context, asked))
    found, notes = _supervised(context, asked, training, settings.neighbours)
    by_head = _scoring(context, settings) == HEAD
    if by_head:
        template, threshold, names = None, None, ("", _WITHHELD)
        own = {name: _by_head(context, asked, hidden=bool(name)) for name in names}
        notes = [*notes, *_untold(context, asked)]
    else:
        template = _template(context, asked.kind, settings.template)
        told, threshold = _by_sentences(context, asked, training, template, settings)
        own = {"": told}
    answers = own | found
    counts = _count_all(context, asked, videos, answers)
    return TaskResult(
        task=NAME,
        expected=np.searchsorted(split.video, videos),
        protocol=_protocol(context, asked),
        averaging="micro: every second of every video counts once",
        truncation={},
        metrics=metric.summary(counts[""]),
        baselines={name: metric.summary(of) for name, of in counts.items() if name},
        examples=_lines(context, videos, counts),
        # by sentences that were never trained on, one number alone was chosen on labels
        setting_if_seen=(
            "from_scratch" if by_head or context.was_taught(asked.kind) else "zero_shot"
        ),
        templates=[template] if template else [],
        details={
            report.ANSWERED_BY: _how(context, settings, threshold),
            "labels": {asked.kind: asked.forms},
            "scoring": HEAD if by_head else JOINT_SPACE,
            "background_threshold": threshold,
            "clip_neighbours": settings.neighbours,
            "num_seconds": sum(of.seconds for of in counts[""]),
            "share_of_background": 1 - _mean(counts[""], "step_seconds"),
        },
        notes=notes,
        statistics=metric.statistics(counts[""]),
        absent=np.searchsorted(split.video, absent),
    )


def _mean(counts: Sequence[Counts], field: str) -> float:
    return sum(getattr(of, field) for of in counts) / sum(of.seconds for of in counts)


def _asked(context: EvaluationContext, settings: Settings) -> _Asked:
    split, where = context.split, f"{context.dataset.path}"
    if reason := unfit(split):
        raise UnfitSplit(f"{where}: {reason}; evaluate another split.")
    whole_videos.require_run(context.bundle, settings.neighbours)
    kinds = labels.kinds(context.dataset, split)
    kind = settings.kind or (STEP if STEP in kinds else kinds[0])
    by_head = _scoring(context, settings) == HEAD
    head = trained_heads.CLIP_LABELS if by_head else trained_heads.JOINT
    trained_heads.require(context, head, NAME)
    if by_head:
        kind = settings.kind or context.bundle.data.clip_labels
        if kind != context.bundle.data.clip_labels:
            raise EvaluationError(
                f"{context.bundle.name} tells labels of kind {context.bundle.data.clip_labels!r}, "
                f"not {kind!r}; ask for those, or take --segmentation={JOINT_SPACE}."
            )
    if kind not in kinds:
        raise EvaluationError(
            f"split {split.name!r} of {where} has no labels of kind {kind!r}; it has {kinds}."
        )
    return _Asked(kind, labels.forms(context.dataset, kind))


def _scoring(context: EvaluationContext, settings: Settings) -> str:
    """Raises EvaluationError where there is no such scoring, or the network has no head."""
    has_head = bool(context.bundle.clip_labels)
    scoring = settings.scoring or (HEAD if has_head else JOINT_SPACE)
    if scoring not in SCORINGS:
        raise EvaluationError(f"segmentation by {scoring!r}; expected {', '.join(SCORINGS)}.")
    if scoring == HEAD and not has_head:
        raise EvaluationError(
            f"{context.bundle.name} has no head that tells labels of clips (model.clip_labels=0); "
            f"evaluate one trained with objectives.segmentation, or by {JOINT_SPACE}."
        )
    return scoring


def _by_head(context: EvaluationContext, asked: _Asked, *, hidden: bool) -> _Answers:
    """Answers of the network's head; `hidden`: to clips that it does not see."""
    places = {name: place for place, name in enumerate(asked.forms)}
    told = [places.get(name, NO_LABEL) for name in context.bundle.clip_labels]
    table = np.array([*told, asked.background])
    return lambda clips: table[whole_videos.clip_labels(context.runner, clips, hidden=hidden)]


def _untold(context: EvaluationContext, asked: _Asked) -> list[str]:
    """A note on labels that the head cannot tell."""
    missing = set(asked.forms) - set(context.bundle.clip_labels)
    return [f"{len(missing)} of the labels are none that the head tells"] if missing else []


def _whole_videos(
    context: EvaluationContext,
) -> tuple[Int[np.ndarray, " v"], Int[np.ndarray, " a"]]:
    """Videos all of whose examples are evaluated, those with clips and those without. Raises
    UnfitSplit where none has clips."""
    split = context.split
    videos = whole_videos.among(split, context.ids)
    present = split.num_clips[videos] > 0
    chosen = videos[present]
    if not len(chosen):
        raise UnfitSplit(
            f"none of the {len(videos)} whole videos of split {split.name!r} of "
            f"{context.dataset.path} under evaluation has clips; name another split."
        )
    return chosen, videos[~present]


def _template(context: EvaluationContext, kind: str, given: str | None) -> str:
    declared = context.dataset.metadata.get("templates", [])
    kinds = labels.kinds(context.dataset, context.split)
    for text in [given] if given else [templates.PAPER_TEMPLATE, *declared, f"{{{kind}}}"]:
        if kind in templates.slots(templates.parse(text, [kind, *kinds])):
            return text
    raise EvaluationError(f"template {given!r} has no {{{kind}}}; expected a sentence with it.")


def _by_sentences(
    context: EvaluationContext,
    asked: _Asked,
    training: Sequence[_Labelled],
    template: str,
    settings: Settings,
) -> tuple[_Answers, float]:
    """(answers by the joint space, the threshold)."""
    runner, neighbours = context.runner, settings.neighbours
    forms = labels.declared(context.dataset, context.split) | {asked.kind: asked.forms}
    written = prompts.sentences(context, asked.kind, template, forms)
    embedded, scale = runner.text_embeddings(written), runner.contrastive_scale

    def best(clips: VideoClips) -> tuple[np.ndarray, np.ndarray]:
        """(label that is most like each clip, the mean of its sentences, softly the largest)."""
        cosines = whole_videos.embed(runner, clips, neighbours) @ embedded.T
        of_labels = cosines.reshape(len(cosines), asked.background, -1)
        size = of_labels.shape[2]
        scores = np.logaddexp.reduce(scale * of_labels, axis=2) - np.log(size)
        return scores.argmax(axis=1), scores.max(axis=1) / scale

    threshold = settings.threshold
    if threshold is None:
        if not training:
            raise UnfitSplit(
                f"{context.dataset.path} has no other split with labels of kind {asked.kind!r} to "
                "choose the threshold of background on; say --background-threshold=COSINE."
            )
        parts = [(*best(clips), true) for clips, true in training]
        chosen, scores, true = map(np.concatenate, zip(*parts, strict=True))
        threshold = metric.best_threshold(scores, chosen == true, true == asked.background)

    def told(clips: VideoClips) -> np.ndarray:
        chosen, scores = best(clips)
        return np.where(scores < threshold, asked.background, chosen)

    return told, float(threshold)


def _training_clips(context: EvaluationContext, asked: _Asked) -> Iterator[_Labelled]:
    """Yields clips of whole videos of the training split, and the label of each; about MAX_EXAMPLES
    of them, of videos spread evenly. None where no other split has such labels and clips."""
    split = context.fit_split
    if split is None or asked.kind not in split.labels or not split.num_clips.any():
        return
    of_clips = asked.or_background(clip_labels.of_clips(split, asked.numbers(split)))
    starts = clip_labels.starts(split)
    videos = np.flatnonzero(split.num_clips > 0)
    share = min(1.0, MAX_EXAMPLES / max(1, len(of_clips)))
    spread = np.linspace(0, len(videos) - 1, max(1, int(share * len(videos))))
    chosen = videos[np.unique(spread.astype(int))].tolist()
    for clips in whole_videos.read(split, chosen, context.bundle.data.parallel_reads):
        spans = [of_clips[starts[v] : starts[v + 1]] for v in clips.videos.tolist()]
        yield clips, np.concatenate(spans)


def _supervised(
    context: EvaluationContext, asked: _Asked, training: Sequence[_Labelled], neighbours: int
) -> tuple[dict[str, _Answers], list[str]]:
    """({baseline: answers}, notes): what is most frequent, and ridge regression from a clip."""
    every = [
        (clips.means(neighbours), true, np.repeat(clips.videos, np.diff(clips.starts)))
        for clips, true in training
    ]
    if not every:
        return {}, [f"no {supervised.LABELLED}: no other split has labels of kind {asked.kind!r}"]
    features, true, videos = map(np.concatenate, zip(*every, strict=True))
    if len(np.unique(videos)) < 2:
        return {}, [f"no {supervised.LABELLED}: one video only has labels of kind {asked.kind!r}"]
    size = asked.background + 1
    ridge = baselines.fit_classifier(features, true, size, videos, seed=context.seed)
    frequent = int(np.bincount(true, minlength=size).argmax())
    split = context.fit_split
    note = (
        f"{supervised.LABELLED}: one-hot regression from the feature of a clip, {len(true)} "
        f"labelled clips of split {split.name if split else ''!r}, penalty {ridge.penalty:g} "
        "chosen on held-out videos of it"
    )
    return {
        "majority": lambda clips: np.full(len(clips.features), frequent),
        supervised.LABELLED: lambda clips: ridge.predict(clips.means(neighbours)).argmax(axis=1),
    }, [note]


def _count_all(
    context: EvaluationContext,
    asked: _Asked,
    videos: Int[np.ndarray, " v"],
    answers: Mapping[str, _Answers],
) -> dict[str, list[Counts]]:
    """Counts of every system and video. Clips are read once."""
    split, background = context.split, asked.background
    numbers = asked.numbers(split)
    found: dict[str, list[Counts]] = {}
    for clips in whole_videos.read(split, videos.tolist(), context.bundle.data.parallel_reads):
        of_clips = {name: of(clips) for name, of in answers.items()}
        for i, video in enumerate(clips.videos.tolist()):
            seconds = whole_videos.num_seconds(split, video)
            at = clips.starts[i] + whole_videos.clips_of_seconds(split, video, seconds)
            middles = np.arange(seconds) + 0.5
            true = asked.or_background(clip_labels.at_times(split, numbers, video, middles))
            told = {name: of[at] for name, of in of_clips.items()}
            random = np.random.default_rng([context.seed, video])
            told[_SHUFFLED] = random.permutation(told[""])
            told["all_background"] = np.full(seconds, background)
            for name, of in told.items():
                found.setdefault(name, []).append(Counts.of(of, true, background))
            found.setdefault("chance", []).append(found[""][-1].by_chance(background + 1))
    return found


def _lines(
    context: EvaluationContext,
    videos: Int[np.ndarray, " v"],
    counts: Mapping[str, Sequence[Counts]],
) -> list[dict[str, Any]]:
    """A line a video."""
    firsts = np.searchsorted(context.split.video, videos).tolist()
    return [
        {
            "example_id": first,
            "video": context.split.videos[video],
            "seconds": own.seconds,
            "step_seconds": own.step_seconds,
            **own.line(),
            "baselines": {name: of[row].line() for name, of in counts.items() if name},
        }
        for row, (video, first, own) in enumerate(
            zip(videos.tolist(), firsts, counts[""], strict=True)
        )
    ]


def _protocol(context: EvaluationContext, asked: _Asked) -> str:
    named = context.dataset.metadata.get("protocols", {}).get(context.split.name, "")
    parts = [
        *([f"{named}."] if named else []),
        f"Every second of every video, by its middle: one of {asked.background} labels of kind "
        f"{asked.kind!r}, or background where no example with one covers it; of several the one "
        "that begins last.",
    ]
    return " ".join(parts)


def _how(context: EvaluationContext, settings: Settings, threshold: float | None) -> str:
    nearest = "by the clip whose centre is nearest:"
    if threshold is None:
        length = context.bundle.longest_run
        return f"{nearest} by the network's head, in windows of {length} clips"
    given = settings.threshold is not None
    return (
        f"{nearest} encoded {whole_videos.encoded(settings.neighbours)}, the label whose "
        "sentences have the highest cosine, softly the largest over fillings of other slots; "
        f"background below {threshold:.4g} ({'given' if given else 'best on the training split'})"
    )
