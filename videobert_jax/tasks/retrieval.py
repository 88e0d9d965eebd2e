"""Text-to-video and video-to-text retrieval, by the towers, by the words that a clip's caption is
expected to have, or by both, and re-ranked by the fused network.

Every example of the split with both sides is a query and a candidate (the clip-level protocol of
Miech et al. 2019, 2020); the one right answer is the query's own example, also where another
example has the same caption. The figures named same_action count every example with the query's
labels as right, where all have them, and of several labels of a kind one of them. Where a
protocol's dataset was built without some of its features, the figures named of_all count the
examples without them as misses.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import Split
from videobert_jax.tasks import cosines, labels, supervised, trained_heads, truncation
from videobert_jax.tasks.context import EvaluatedSplit, EvaluationContext, PredictionContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import ranking
from videobert_jax.tasks.metrics import similarity as similarities
from videobert_jax.tasks.metrics.relevance import Groups, Right, Shared
from videobert_jax.tasks.metrics.similarity import DualSoftmax, Matrix, Similarity
from videobert_jax.tasks.metrics.statistic import Statistic
from videobert_jax.tasks.report import TaskResult

NAME = "retrieval"
SHORTLIST = 20
DIRECTIONS = ("text_to_video", "video_to_text")
RERANKED, SAME_ACTION = "reranked_", "_same_action"  # what names of figures begin and end with
LABEL_ORACLE = "label_oracle"
OF_ALL = "_of_all"
NO_NORMALIZATION, DUAL_SOFTMAX = "none", "dual_softmax"
_NORMALIZATIONS = {  # -> what the protocol says of it
    NO_NORMALIZATION: [],
    DUAL_SOFTMAX: [
        f"Dual softmax (scale {similarities.DUAL_SOFTMAX_SCALE:g}): scores are multiplied by each "
        "candidate's softmax over all queries."
    ],
}
NORMALIZATIONS = tuple(_NORMALIZATIONS)

Rights = dict[str, Right]  # what counts as right, by the ending of the figures' names


def paired_ids(split: Split, ids: Int[np.ndarray, " n"]) -> np.ndarray:
    """Those of the examples that have both a caption and clips."""
    return ids[(split.caption_hash[ids] != 0) & (split.clip_count[ids] > 0)]


def absent_ids(context: EvaluatedSplit) -> np.ndarray:
    """Those of the examples under evaluation that have a caption and no clips."""
    return context.by_clips(context.ids[context.split.caption_hash[context.ids] != 0])[1]


def evaluate(
    context: EvaluationContext,
    *,
    shortlist: int = SHORTLIST,
    normalization: str = NO_NORMALIZATION,
    rank_by: str = cosines.TOWERS,
) -> TaskResult:
    """Ranks of the right candidates among all, by one of `cosines.RANKED_BY` under a normalization.

    Without a shortlist where the matching head, which orders it, was never trained. Raises
    EvaluationError where examples are lost, or the network has no such cosines, or there is no such
    normalization, UntrainedHead where the heads that are asked were never trained.
    """
    cosines.require_heads(context, rank_by, NAME)
    ids = paired_ids(context.split, context.ids)
    rows = context.expect(ids, "both a caption and clips")
    reranks = trained_heads.may_ask(context, trained_heads.MATCHING)
    right, size = _right(context, ids), min(shortlist, len(ids)) if reranks else 0
    ranks, short = _ranks(
        normalized(cosines.of(context, ids, rows, rank_by), normalization), right, size
    )
    if size:
        ranks |= _reranked(context, rows, ranks, short, right)
    found, notes = supervised.retrieve(context, ids)
    if not reranks:
        notes = [*notes, f"no {RERANKED}*: the matching head was never trained"]
    of_baselines = {
        name: _ranks(normalized(of, normalization), right, 0)[0] for name, of in found.items()
    }
    return _result(
        context,
        ids,
        right,
        ranks,
        of_baselines,
        normalization=normalization,
        truncated=truncation.counts(context, ids),
        details={"scores": _scores(rank_by, size), "rank_by": rank_by, "shortlist": size},
        notes=notes,
        found={way: ids[of[:, 0]] for way, of in short.items() if size},
    )


def evaluate_predictions(
    context: PredictionContext,
    given: Matrix,
    *,
    places: Int[np.ndarray, " n"] | None = None,
    normalization: str = NO_NORMALIZATION,
) -> TaskResult:
    """Ranks by another system's similarity of the captions (rows) and clips (columns) of
    `paired_ids`. places: the row and column of each of those; None: they are in order. Raises as
    `evaluate`, and on another shape."""
    ids = paired_ids(context.split, context.ids)
    if not len(ids) or given.shape != (len(ids), len(ids)):
        raise EvaluationError(
            f"{context.predictions['file']}: shape {given.shape}; split {context.split.name!r} of "
            f"{context.dataset.path} has {len(ids)} examples with a caption and clips; expected a "
            "similarity of each of their captions (rows) with each of their clips (columns)."
        )
    places = np.arange(len(ids)) if places is None else places
    right, of_rows = _right(context, ids), np.argsort(places)
    # what counts as right is put in the order of the scores, which may be too many to be copied
    in_rows = {ending: of.in_order(of_rows) for ending, of in right.items()}
    found, _ = _ranks(normalized(given, normalization), in_rows, 0)
    ranks = {name: of[places] for name, of in found.items()}
    return _result(
        context,
        ids,
        right,
        ranks,
        {},
        normalization=normalization,
        truncated={},
        details={"scores": "as given"},
        notes=["no supervised baselines: they see clips as a checkpoint's rows hold them"],
        found={},
    )


def evaluate_ranks(context: PredictionContext, ranks: dict[str, np.ndarray]) -> TaskResult:
    """Figures of another system's ranks of the examples of `paired_ids`, of one of DIRECTIONS or
    both."""
    ids = paired_ids(context.split, context.ids)
    return _result(
        context,
        ids,
        _right(context, ids),
        ranks,
        {},
        normalization=NO_NORMALIZATION,
        truncated={},
        details={"scores": "ranks as given"},
        notes=[
            "ties in the ranks are as the other system counted them",
            "figures of each query's own example alone: ranks tell of no other",
            "no supervised baselines: they see clips as a checkpoint's rows hold them",
        ],
        found={},
    )


def normalized(similarity: Similarity, normalization: str) -> Similarity:
    """The similarity under one of NORMALIZATIONS. Raises EvaluationError where there is none."""
    if normalization not in NORMALIZATIONS:
        raise EvaluationError(
            f"normalization {normalization!r} is none of {', '.join(NORMALIZATIONS)}."
        )
    return DualSoftmax(similarity) if normalization == DUAL_SOFTMAX else similarity


def _result(
    context: EvaluationContext | PredictionContext,
    ids: Int[np.ndarray, " n"],
    right: Rights,
    ranks: dict[str, np.ndarray],
    of_baselines: dict[str, dict[str, np.ndarray]],
    *,
    normalization: str,
    truncated: dict[str, int],
    details: dict[str, object],
    notes: list[str],
    found: dict[str, np.ndarray],
) -> TaskResult:
    """What follows from the ranks, whoever's they are; found: example ids of what came first."""
    if SAME_ACTION not in right:
        notes = [*notes, "no same_action figures: not every example has all of the labels"]
    figures, absent = _figures(ranks), absent_ids(context)
    is_protocol = context.split.name in context.dataset.metadata.get("protocols", {})
    misses = len(absent) if is_protocol else 0
    if misses:
        notes = [*notes, f"*{OF_ALL} has the {misses} examples without clips as misses"]
    hashes, counts = np.unique(context.split.caption_hash[ids], return_counts=True)
    duplicates = int(counts[counts > 1].sum())
    return TaskResult(
        task=NAME,
        expected=ids,
        protocol=_protocol(context, len(ids), right, normalization),
        averaging="micro: every query counts once",
        truncation=truncated,
        metrics=figures | _of_all(figures, len(ids), misses),
        baselines={
            "chance": _chance(ranks, right),
            **{name: _figures(_both_stages(of, ranks)) for name, of in of_baselines.items()},
            **_oracle(context, ids),
        },
        examples=_examples(context, ids, ranks, of_baselines, found),
        details={
            "num_duplicate_captions": duplicates,
            "num_distinct_captions": len(hashes),
            **details,
        },
        notes=notes,
        statistics=_statistics(ranks, misses),
        absent=absent,
    )


def _statistics(names: Iterable[str], misses: int) -> dict[str, Statistic]:
    """How the figures are read off the lines."""
    found = {k: v for name in names for k, v in ranking.statistics(name, f"{name}_rank").items()}
    with_misses = {
        name + OF_ALL: dataclasses.replace(of, misses=misses)
        for name, of in found.items()
        if misses and not name.endswith("rank")
    }
    return found | with_misses


def _of_all(figures: dict[str, float], present: int, misses: int) -> dict[str, float]:
    """Recalls over all examples of the protocol, absent ones as misses; none where none is."""
    if not misses:
        return {}
    share = present / (present + misses)
    recalls = {name: value for name, value in figures.items() if not name.endswith("rank")}
    return {name + OF_ALL: value * share for name, value in recalls.items()}


def _protocol(
    context: EvaluationContext | PredictionContext,
    count: int,
    right: Rights,
    normalization: str,
) -> str:
    named = context.dataset.metadata.get("protocols", {}).get(context.split.name, "")
    parts = [
        *([f"{named}."] if named else []),
        f"clip-level, {count} queries x {count} candidates each way; only the query's own "
        "example is right.",
        *_NORMALIZATIONS[normalization],
    ]
    if SAME_ACTION in right:
        same = right[SAME_ACTION]
        has = "one of the query's labels of each kind"
        if not isinstance(same, Shared):
            has = "the query's labels"
        kinds = ", ".join(labels.kinds(context.dataset, context.split))
        parts.append(
            f"*{SAME_ACTION}*: every example with {has} ({kinds}) is right, the first one counts; "
            f"{same.num_right().mean():.2f} of them a query."
        )
    return " ".join(parts)


def _scores(rank_by: str, shortlist: int) -> str:
    """What a network is ranked by."""
    parts = [cosines.RANKED_BY[rank_by]]
    if shortlist:
        parts.append(f"reranked_*: the {shortlist} best, in the order of the matching head")
    return "; ".join(parts)


def _right(context: EvaluationContext | PredictionContext, ids: Int[np.ndarray, " n"]) -> Rights:
    same = labels.actions(context.dataset, context.split, ids)
    own: Rights = {"": Groups(np.arange(len(ids)))}
    return own if same is None else {**own, SAME_ACTION: same}


def tower_ranks(context: EvaluationContext, rows: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Rank of every query, each way, by cosine of the towers' embeddings."""
    return _ranks(cosines.of_towers(context, rows), {"": Groups(np.arange(len(rows)))}, 0)[0]


def _ranks(
    similarity: Similarity, right: Rights, size: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(rank of every query, its shortlist of `size`), each way, by text (rows) and video."""
    ranks, short = {}, {}
    for direction, directed in zip(DIRECTIONS, (similarity, similarity.T), strict=True):
        found, short[direction] = ranking.of_similarity(directed, right, size=size)
        ranks |= {direction + ending: of for ending, of in found.items()}
    return ranks, short


def _reranked(
    context: EvaluationContext,
    rows: Int[np.ndarray, " n"],
    ranks: dict[str, np.ndarray],
    shortlists: dict[str, np.ndarray],
    right: Rights,
) -> dict[str, np.ndarray]:
    """Ranks after the best candidates were scored by the matching head."""
    out = {}
    for name, short in shortlists.items():
        sides = (np.repeat(np.arange(len(rows)), short.shape[1]), short.reshape(-1))
        texts, videos = sides if name == DIRECTIONS[0] else sides[::-1]
        logits = context.runner.matching_scores(context.encodings, rows[texts], rows[videos])
        for ending, of in right.items():
            out[f"{RERANKED}{name}{ending}"] = ranking.reranked(
                ranks[name + ending], of.among(short), logits.reshape(short.shape)
            )
    return out


def _figures(ranks: dict[str, np.ndarray]) -> dict[str, float]:
    return {k: v for name, of in ranks.items() for k, v in ranking.summary(of, name).items()}


def _both_stages(of_baseline: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """A linear model has no second stage: its ranks stand for both."""
    return {name: of_baseline[name.removeprefix(RERANKED)] for name in names}


def _oracle(
    context: EvaluationContext | PredictionContext, ids: Int[np.ndarray, " n"]
) -> dict[str, dict[str, float]]:
    """Text to video by whoever reads in every caption, and sees in every clip, its labels and
    nothing else: what is beyond it takes more than knowing the labels. Empty without labels."""
    if not labels.kinds(context.dataset, context.split):
        return {}
    fitting = labels.num_fitting(context.dataset, context.split, ids)
    return {LABEL_ORACLE: ranking.of_ties(fitting, DIRECTIONS[0])}


def _chance(names: Iterable[str], right: Rights) -> dict[str, float]:
    figures: dict[str, float] = {}
    counts = {ending: of.num_right() for ending, of in right.items()}
    for name in names:
        of = counts[SAME_ACTION if name.endswith(SAME_ACTION) else ""]
        figures |= ranking.chance(len(of), of, name)
    return figures


def _examples(
    context: EvaluationContext | PredictionContext,
    ids: Int[np.ndarray, " n"],
    ranks: dict[str, np.ndarray],
    of_baselines: dict[str, dict[str, np.ndarray]],
    found: dict[str, np.ndarray],
) -> list[dict[str, object]]:
    texts = context.split.texts(ids.tolist())

    def described(of: dict[str, np.ndarray], row: int) -> dict[str, float]:
        return {f"{name}_rank": float(values[row]) for name, values in of.items()}

    return [
        {
            **context.line(example),
            "text": texts[row],
            **described(ranks, row),
            **({"found": {way: int(of[row]) for way, of in found.items()}} if found else {}),
            "baselines": {name: described(of, row) for name, of in of_baselines.items()},
        }
        for row, example in enumerate(ids.tolist())
    ]
