"""Text-to-video and video-to-text retrieval, by the towers and re-ranked by the fused network.

Every example of the split with both sides is a query and a candidate (the clip-level protocol of
Miech et al. 2019, 2020); the one right answer is the query's own example, also where another
example has the same caption. The figures named same_action count every example with the query's
labels as right, where all have them. Where a protocol's dataset was built without some of its
features, the figures named of_all count the examples without them as misses.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.data.index import Split
from videobert_jax.tasks import labels, supervised, truncation
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.metrics import ranking
from videobert_jax.tasks.report import TaskResult

NAME = "retrieval"
SHORTLIST = 20
DIRECTIONS = ("text_to_video", "video_to_text")
RERANKED, SAME_ACTION = "reranked_", "_same_action"  # what names of figures begin and end with
LABEL_ORACLE = "label_oracle"
OF_ALL = "_of_all"

Right = dict[str, np.ndarray]


def paired_ids(split: Split, ids: Int[np.ndarray, " n"]) -> np.ndarray:
    """Those of the examples that have both a caption and clips."""
    return ids[(split.caption_hash[ids] != 0) & (split.clip_count[ids] > 0)]


def evaluate(context: EvaluationContext, *, shortlist: int = SHORTLIST) -> TaskResult:
    """Ranks of the right candidates among all. Raises EvaluationError where examples are lost."""
    ids = paired_ids(context.split, context.ids)
    rows = context.expect(ids, "both a caption and clips")
    right = _right(context, ids)
    scores = _tower_scores(context, rows)
    ranks = _ranks(scores, right)
    if shortlist:
        ranks |= _reranked(context, rows, scores, right, min(shortlist, len(ids)))
    found, notes = supervised.retrieve(context, ids)
    of_baselines = {name: _ranks(values, right) for name, values in found.items()}
    if SAME_ACTION not in right:
        notes = [*notes, "no same_action figures: not every example has all of the labels"]
    figures, absent = _figures(ranks), _absent(context)
    if absent:
        notes = [*notes, f"{absent} examples have no clip features: *{OF_ALL} has them as misses"]
    hashes, counts = np.unique(context.split.caption_hash[ids], return_counts=True)
    duplicates = int(counts[counts > 1].sum())
    return TaskResult(
        task=NAME,
        expected=ids,
        protocol=_protocol(context, len(ids), right, shortlist),
        averaging="micro: every query counts once",
        truncation=truncation.counts(context, ids),
        metrics=figures | _of_all(figures, len(ids), absent),
        baselines={
            "chance": _chance(ranks, right),
            **{name: _figures(_both_stages(of, ranks)) for name, of in of_baselines.items()},
            **_oracle(context, ids),
        },
        examples=_examples(context.split, ids, ranks, of_baselines),
        details={
            "num_duplicate_captions": duplicates,
            "num_distinct_captions": len(hashes),
            "shortlist": shortlist,
            "num_absent": absent,
        },
        notes=notes,
    )


def _absent(context: EvaluationContext) -> int:
    """Examples under evaluation with a caption and no clips, in a split that is a protocol's."""
    split, ids = context.split, context.ids
    if split.name not in context.dataset.metadata.get("protocols", {}):
        return 0
    return int(((split.caption_hash[ids] != 0) & (split.clip_count[ids] == 0)).sum())


def _of_all(figures: dict[str, float], present: int, absent: int) -> dict[str, float]:
    """Recalls over all examples of the protocol, absent ones as misses; none where none is."""
    if not absent:
        return {}
    share = present / (present + absent)
    recalls = {name: value for name, value in figures.items() if not name.endswith("rank")}
    return {name + OF_ALL: value * share for name, value in recalls.items()}


def _protocol(context: EvaluationContext, count: int, right: Right, shortlist: int) -> str:
    named = context.dataset.metadata.get("protocols", {}).get(context.split.name, "")
    parts = [
        *([f"{named}."] if named else []),
        f"clip-level, {count} queries x {count} candidates each way; cosine of the towers' "
        "embeddings; only the query's own example is right.",
    ]
    if SAME_ACTION in right:
        kinds = ", ".join(labels.kinds(context.dataset, context.split))
        parts.append(
            f"*{SAME_ACTION}*: every example with the query's labels ({kinds}) is right, the first "
            f"one counts; {right[SAME_ACTION].sum(axis=1).mean():.2f} of them a query."
        )
    if shortlist:
        parts.append(
            f"reranked_*: the {shortlist} best by the towers, in the order of the matching head."
        )
    return " ".join(parts)


def _right(context: EvaluationContext, ids: Int[np.ndarray, " n"]) -> Right:
    """What counts as right, bool [n, n], by the ending of the figures' names."""
    same = labels.same_action(context.dataset, context.split, ids)
    own = {"": np.eye(len(ids), dtype=bool)}
    return own if same is None else {**own, SAME_ACTION: same}


def tower_ranks(context: EvaluationContext, rows: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Rank of every query, each way, by cosine of the towers' embeddings."""
    return _ranks(_tower_scores(context, rows), {"": np.eye(len(rows), dtype=bool)})


def _tower_scores(
    context: EvaluationContext, rows: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n n"]:
    text = context.encodings.text_embeddings[rows].astype(np.float32)
    return text @ context.encodings.video_embeddings[rows].astype(np.float32).T


def _ranks(scores: Float[np.ndarray, "n n"], right: Right) -> dict[str, np.ndarray]:
    """Rank of every query, each way, by scores of text (rows) and video (columns)."""
    return {
        direction + ending: ranking.first_ranks(directed, of)
        for ending, of in right.items()
        for direction, directed in zip(DIRECTIONS, (scores, scores.T), strict=True)
    }


def _reranked(
    context: EvaluationContext,
    rows: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, "n n"],
    right: Right,
    size: int,
) -> dict[str, np.ndarray]:
    """Ranks after the `size` best candidates were scored by the matching head."""
    queries = np.repeat(np.arange(len(rows)), size)
    out = {}
    for name, directed in zip(DIRECTIONS, (scores, scores.T), strict=True):
        short = ranking.shortlist(directed, size)
        sides = (queries, short.reshape(-1))
        texts, videos = sides if name == DIRECTIONS[0] else sides[::-1]
        logits = context.runner.matching_scores(context.encodings, rows[texts], rows[videos])
        for ending, of in right.items():
            out[f"{RERANKED}{name}{ending}"] = ranking.reranked(
                ranking.first_ranks(directed, of), short, logits.reshape(short.shape), of
            )
    return out


def _figures(ranks: dict[str, np.ndarray]) -> dict[str, float]:
    return {k: v for name, of in ranks.items() for k, v in ranking.summary(of, name).items()}


def _both_stages(of_baseline: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """A linear model has no second stage: its ranks stand for both."""
    return {name: of_baseline[name.removeprefix(RERANKED)] for name in names}


def _oracle(context: EvaluationContext, ids: Int[np.ndarray, " n"]) -> dict[str, dict[str, float]]:
    """Text to video by whoever reads in every caption, and sees in every clip, its labels and
    nothing else: what is beyond it takes more than knowing the labels. Empty without labels."""
    if not labels.kinds(context.dataset, context.split):
        return {}
    fitting = labels.fitting_captions(context.dataset, context.split, ids)
    return {LABEL_ORACLE: ranking.of_ties(fitting.sum(axis=1), DIRECTIONS[0])}


def _chance(names: Iterable[str], right: Right) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name in names:
        of = right[SAME_ACTION if name.endswith(SAME_ACTION) else ""]
        figures |= ranking.chance(len(of), of.sum(axis=1), name)
    return figures


def _examples(
    split: Split,
    ids: Int[np.ndarray, " n"],
    ranks: dict[str, np.ndarray],
    of_baselines: dict[str, dict[str, np.ndarray]],
) -> list[dict[str, object]]:
    texts = split.texts(ids.tolist())

    def described(of: dict[str, np.ndarray], row: int) -> dict[str, float]:
        return {f"{name}_rank": float(values[row]) for name, values in of.items()}

    return [
        {
            "example_id": example,
            "video": split.videos[int(split.video[example])],
            "start": float(split.start[example]),
            "end": float(split.end[example]),
            "text": texts[row],
            **described(ranks, row),
            "baselines": {name: described(of, row) for name, of in of_baselines.items()},
        }
        for row, example in enumerate(ids.tolist())
    ]
