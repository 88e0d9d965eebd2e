"""LXMERT in the tasks of the embedded corpus: records like those of eval.py, on the same examples.

Its scores are our metrics', over the examples, lists, templates, questions and seconds that our
network is measured on. What it is asked is what it has heads for: hidden words by the word head,
texts and clips by the matching head, answers and clips' labels by heads that were fine-tuned, and a
linear map of what it makes of clips alone.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import lxmert_runs
from benchmarks.lxmert_kitchen import Corpus
from benchmarks.lxmert_network import Network, Read
from videobert_jax.data import clip_labels, index
from videobert_jax.files import storage
from videobert_jax.schema import NO_LABEL
from videobert_jax.tasks import (
    action_segmentation,
    baselines,
    cloze,
    labels,
    linear_probe,
    multiple_choice,
    question_answering,
    questions,
    report,
    retrieval,
    step_localization,
    whole_videos,
    zero_shot_classification,
)
from videobert_jax.tasks.context import PredictionContext
from videobert_jax.tasks.metrics import classification, ranking, segmentation
from videobert_jax.tasks.metrics.similarity import Matrix
from videobert_jax.tasks.report import TaskResult
from videobert_jax.text import templates

SEED = 0  # of eval.py where none is said, whatever a run's
PROBED = "video_tower"  # the feature that is compared with ours of this name
Measure = Callable[[PredictionContext, Corpus, Network], TaskResult]


def measure(
    task: str,
    run: pathlib.Path,
    stage: str,
    corpus: Corpus,
    dataset: index.Dataset,
    split: str,
    output: storage.Path,
    limit: int | None = None,
) -> None:
    """Writes the record of a finished run in one of `TASKS`; nothing where it is there.

    limit: of the first examples alone.
    """
    if output.is_file():
        return
    described = lxmert_runs.described(run)
    context = PredictionContext(described, dataset, dataset.split(split), SEED, limit)
    network = Network(corpus, lxmert_runs.load(run, corpus, stage), f"{run.name}, {task}, {split}")
    result = TASKS[task](context, corpus, network)
    report.write(report.record(context, result), result.examples, output)


def _result(
    task: str, context: PredictionContext, expected: np.ndarray, protocol: str, **fields: Any
) -> TaskResult:
    """A result beside no baselines: our network's record has them."""
    return TaskResult(
        task=task,
        expected=expected,
        protocol=f"LXMERT, {protocol}",
        averaging=classification.AVERAGING,
        truncation={},
        baselines={},
        **fields,
    )


def _labelled(context: PredictionContext, kind: str) -> tuple[labels.Forms, np.ndarray, np.ndarray]:
    """(the declared list, examples with clips and a label, numbers of their labels)."""
    forms = labels.forms(context.dataset, kind)
    known = labels.ids_of(context.split, kind, forms)[context.ids]
    ids = context.ids[(known != NO_LABEL) & (context.split.clip_count[context.ids] > 0)]
    return forms, ids, known[ids]


def zero_shot(context: PredictionContext, corpus: Corpus, network: Network) -> TaskResult:
    """By cloze: every form of the list tried in the masks of our templates."""
    kinds = labels.kinds(context.dataset, context.split)
    texts = zero_shot_classification.templates_of(context, (), kinds)
    every = np.unique(np.concatenate([_labelled(context, kind)[1] for kind in kinds]))
    clips = network.clips(*corpus.read(context.split, every))
    lines: dict[int, dict[str, Any]] = {one: context.line(one) for one in every.tolist()}
    metrics, statistics = {}, {}
    for kind in kinds:
        forms, ids, numbers = _labelled(context, kind)
        candidates = cloze.Candidates.of(forms, corpus.tokenizer)
        blanks = [templates.blank(text, kind, corpus.tokenizer) for text in texts[kind]]
        rows = np.searchsorted(every, ids)
        each = [
            candidates.of_labels(
                cloze_scores(corpus, network, blank, candidates.pieces, clips, rows)
            )
            for blank in blanks
        ]
        ranks = ranking.ranks(np.mean(each, axis=0), numbers)
        for one, rank in zip(ids.tolist(), ranks.tolist(), strict=True):
            lines[one][kind] = {"rank": rank}
        metrics |= classification.from_ranks(ranks, kind)
        statistics |= classification.statistics(kind, kind, "rank")
    return _result(
        zero_shot_classification.NAME,
        context,
        every,
        f"by cloze: {cloze.SCORE}; other slots are one [MASK] each",
        metrics=metrics,
        examples=list(lines.values()),
        statistics=statistics,
        templates=list(dict.fromkeys(text for of in texts.values() for text in of)),
    )


def cloze_scores(
    corpus: Corpus,
    network: Network,
    blank: templates.Blank,
    pieces: Sequence[Sequence[int]],
    clips: Read,
    rows: np.ndarray,
) -> np.ndarray:
    """Mean log-probability `[n, k]` of the pieces of every candidate in as many masks, beside the
    clips of these rows."""
    special = corpus.tokenizer
    lengths = np.array([len(of) for of in pieces])
    out = np.zeros((len(rows), len(pieces)))
    for count in np.unique(lengths).tolist():
        text = [special.cls_id, *blank.before, *[special.mask_id] * count, *blank.after]
        places = 1 + len(blank.before) + np.arange(count)
        told = network.words([*text, special.sep_id], places, clips, rows)
        for column in np.flatnonzero(lengths == count).tolist():
            out[:, column] = told[:, np.arange(count), list(pieces[column])].mean(axis=1)
    return out


def retrieve(context: PredictionContext, corpus: Corpus, network: Network) -> TaskResult:
    """By the matching head: every text with the clips of every example."""
    ids = retrieval.paired_ids(context.split, context.ids)
    texts = network.texts(corpus.sentences(context.split.texts(ids.tolist())))
    clips = network.clips(*corpus.read(context.split, ids))
    pairs = np.indices((len(ids), len(ids))).reshape(2, -1)
    scores = network.matching(texts, clips, *pairs).reshape(len(ids), len(ids))
    return retrieval.evaluate_predictions(context, Matrix(scores))


def choose(context: PredictionContext, corpus: Corpus, network: Network) -> TaskResult:
    """By the matching head: every candidate, read behind its question, with the clips."""
    of_split = questions.of_split(context.dataset, context.split)
    shown = context.split.clip_count[context.ids] > 0
    ids = np.array([e for e in context.ids[shown].tolist() if of_split[e].candidates])
    asked = [of_split[one] for one in ids.tolist()]
    written = [f"{of.text} {said}".strip() for of in asked for said in of.candidates]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(written))}
    owners = np.repeat(np.arange(len(ids)), [len(of.candidates) for of in asked])
    scored = network.matching(
        network.texts(corpus.sentences(list(numbers))),
        network.clips(*corpus.read(context.split, ids)),
        np.array([numbers[text] for text in written]),
        owners,
    )
    scores = np.full((len(ids), np.bincount(owners).max()), -np.inf)
    scores[owners, np.concatenate([np.arange(len(of.candidates)) for of in asked])] = scored
    shares = classification.right_shares(scores, np.array([of.correct for of in asked]))
    return _answered(
        multiple_choice.NAME, context, ids, asked, shares, "candidates by the matching head"
    )


def answer(context: PredictionContext, corpus: Corpus, network: Network) -> TaskResult:
    """By the answer head, of the answers that training knows."""
    ids = context.ids
    asked = [questions.of_split(context.dataset, context.split)[one] for one in ids.tolist()]
    number = {said: place for place, said in enumerate(corpus.lists.answers)}
    written = [of.text for of in asked]
    distinct = {text: row for row, text in enumerate(dict.fromkeys(written))}
    logits = network.answers(
        network.texts(corpus.sentences(list(distinct))),
        network.clips(*corpus.read(context.split, ids)),
        np.array([distinct[text] for text in written]),
        np.arange(len(ids)),
    )
    shares = classification.right_shares(
        logits, np.array([number.get(of.answer, -1) for of in asked])
    )
    return _answered(
        question_answering.NAME,
        context,
        ids,
        asked,
        shares,
        f"one of {len(number)} answers by its answer head, fine-tuned",
    )


def _answered(
    task: str,
    context: PredictionContext,
    ids: np.ndarray,
    asked: Sequence[questions.Question],
    shares: np.ndarray,
    protocol: str,
) -> TaskResult:
    """A line a question."""
    lines = [
        {**context.line(one), "question": of.text, "right": share, "of_kind": {of.kind: share}}
        for one, of, share in zip(ids.tolist(), asked, shares.tolist(), strict=True)
    ]
    kinds = questions.places_of_kinds([of.kind for of in asked])
    return _result(
        task,
        context,
        ids,
        protocol,
        metrics=questions.figures(shares, kinds),
        examples=lines,
        statistics=questions.statistics(kinds),
    )


def segment(context: PredictionContext, corpus: Corpus, network: Network) -> TaskResult:
    """By the head of clips' labels, fine-tuned, over whole videos in windows like our network's."""
    split, kind = context.split, corpus.run.data.clip_labels
    forms = labels.forms(context.dataset, kind)
    numbers, background = labels.ids_of(split, kind, forms), len(forms)
    places = {name: place for place, name in enumerate(forms)}
    table = np.array([*(places[name] for name in corpus.lists.clip_labels), background])
    videos = whole_videos.among(split, context.ids)
    counts, lines = [], []
    for clips in whole_videos.read(split, videos.tolist(), corpus.run.data.parallel_reads):
        windows = whole_videos.Windows.of(clips.starts, corpus.run.data.video_length)
        rows = network.clips(clips.features[windows.at], windows.shown)
        told = table[network.clip_labels(rows)[windows.window, windows.place]]
        for first, video in zip(clips.starts.tolist(), clips.videos.tolist(), strict=False):
            seconds = whole_videos.num_seconds(split, video)
            at = first + whole_videos.clips_of_seconds(split, video, seconds)
            true = clip_labels.at_times(split, numbers, video, np.arange(seconds) + 0.5)
            true = np.where(true == NO_LABEL, background, true)
            of = segmentation.Counts.of(told[at], true, background)
            counts.append(of)
            lines.append(
                {
                    "example_id": int(np.searchsorted(split.video, video)),
                    "video": split.videos[video],
                    "seconds": of.seconds,
                    "step_seconds": of.step_seconds,
                    **of.line(),
                }
            )
    return _result(
        action_segmentation.NAME,
        context,
        np.array([line["example_id"] for line in lines]),
        f"every second of every video, one of {background} labels of kind {kind!r} or background, "
        "by the clip nearest to its middle and a fine-tuned head of clips",
        metrics=segmentation.summary(counts),
        examples=lines,
        statistics=segmentation.statistics(counts),
    )


def locate(context: PredictionContext, corpus: Corpus, network: Network) -> TaskResult:
    """By the matching head: every step of a video with each clip that is searched, by itself."""

    def scorer_of(texts: Sequence[str]) -> step_localization.Scorer:
        read = network.texts(corpus.sentences(texts))

        def prepare(clips: whole_videos.VideoClips) -> step_localization.Scores:
            features = clips.features[:, None]
            rows = network.clips(features, np.ones(features.shape[:2], bool))

            def scores(chosen: slice, steps: np.ndarray) -> np.ndarray:
                at = np.arange(len(features))[chosen]
                pairs = np.tile(steps, len(at)), np.repeat(at, len(steps))
                return network.matching(read, rows, *pairs).reshape(len(at), len(steps))

            return scores

        return prepare

    return step_localization.evaluate_scores(
        context,
        scorer_of,
        other_videos=None,
        parallel_reads=corpus.run.data.parallel_reads,
    )


def probe(context: PredictionContext, corpus: Corpus, network: Network) -> TaskResult:
    """Ridge regression, as in our linear probes, from the mean state of the layers of clips."""
    fitted = context.fit_split
    if fitted is None:
        raise index.DatasetError(f"{context.dataset.path} has no split to fit linear probes to.")
    kinds = labels.kinds(context.dataset, context.split)
    fit_ids = np.flatnonzero(fitted.clip_count[:] > 0)
    known = network.clips(*corpus.read(fitted, fit_ids)).means()
    every = np.unique(np.concatenate([_labelled(context, kind)[1] for kind in kinds]))
    features = network.clips(*corpus.read(context.split, every)).means()
    lines: dict[int, dict[str, Any]] = {one: context.line(one) for one in every.tolist()}
    metrics, statistics = {}, {}
    for kind in kinds:
        forms, ids, numbers = _labelled(context, kind)
        of_fitted = labels.ids_of(fitted, kind, forms)[fit_ids]
        kept = of_fitted != NO_LABEL
        ridge = baselines.fit_classifier(
            known[kept],
            of_fitted[kept],
            len(forms),
            np.asarray(fitted.video[fit_ids[kept]]),
            seed=context.seed,
        )
        ranks = ranking.ranks(ridge.predict(features[np.searchsorted(every, ids)]), numbers)
        for one, rank in zip(ids.tolist(), ranks.tolist(), strict=True):
            lines[one][kind] = {"rank_by": {PROBED: rank}}
        metrics |= classification.from_ranks(ranks, f"{kind}_{PROBED}")
        statistics |= classification.statistics(f"{kind}_{PROBED}", kind, "rank_by", PROBED)
    return _result(
        linear_probe.NAME,
        context,
        every,
        f"one-hot ridge regression from the mean state of its layers of clips, fitted to split "
        f"{fitted.name!r}, penalty by top-1 on held-out videos of it",
        metrics=metrics,
        examples=list(lines.values()),
        statistics=statistics,
    )


TASKS: dict[str, Measure] = {
    zero_shot_classification.NAME: zero_shot,
    linear_probe.NAME: probe,
    retrieval.NAME: retrieve,
    step_localization.NAME: locate,
    multiple_choice.NAME: choose,
    question_answering.NAME: answer,
    action_segmentation.NAME: segment,
}
