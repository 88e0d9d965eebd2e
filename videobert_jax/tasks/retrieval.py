"""Text-to-video and video-to-text retrieval, by the towers and re-ranked by the fused network.

Every example of the split with both sides is a query and a candidate (the clip-level protocol of
Miech et al. 2019, 2020); the one right answer is the query's own example, also where another
example has the same caption.
"""

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.data.index import Split
from videobert_jax.tasks import supervised, truncation
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.metrics import ranking
from videobert_jax.tasks.report import TaskResult

NAME = "retrieval"
SHORTLIST = 20
DIRECTIONS = ("text_to_video", "video_to_text")


def paired_ids(split: Split, ids: Int[np.ndarray, " n"]) -> np.ndarray:
    """Those of the examples that have both a caption and clips."""
    return ids[(split.caption_hash[ids] != 0) & (split.clip_count[ids] > 0)]


def evaluate(context: EvaluationContext, *, shortlist: int = SHORTLIST) -> TaskResult:
    """Ranks of the right candidates among all. Raises EvaluationError where examples are lost."""
    ids = paired_ids(context.split, context.ids)
    rows = context.expect(ids, "both a caption and clips")
    ranks = tower_ranks(context, rows)
    if shortlist:
        ranks |= _reranked(context, rows, min(shortlist, len(ids)))
    chance = {}
    for name in ranks:
        chance |= ranking.chance(len(ids), name)
    ridge, notes = supervised.retrieve(context, ids)
    hashes, counts = np.unique(context.split.caption_hash[ids], return_counts=True)
    duplicates = int(counts[counts > 1].sum())
    shown = (
        f" re-ranked_*: the {shortlist} best by the towers, put in the order of the matching head."
    )
    return TaskResult(
        task=NAME,
        expected=ids,
        protocol=(
            f"clip-level, {len(ids)} queries x {len(ids)} candidates each way; cosine of the "
            "towers' embeddings; only the query's own example is right."
            + (shown if shortlist else "")
        ),
        averaging="micro: every query counts once",
        truncation=truncation.counts(context, ids),
        metrics={k: v for name in ranks for k, v in ranking.summary(ranks[name], name).items()},
        baselines={"chance": chance, **ridge},
        examples=_examples(context.split, ids, ranks),
        details={
            "num_duplicate_captions": duplicates,
            "num_distinct_captions": len(hashes),
            "shortlist": shortlist,
        },
        notes=notes,
    )


def tower_ranks(context: EvaluationContext, rows: Int[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Rank of every query, each way, by cosine of the towers' embeddings."""
    scores = _tower_scores(context, rows)
    targets = np.arange(len(rows))
    return {
        "text_to_video": ranking.ranks(scores, targets),
        "video_to_text": ranking.ranks(scores.T, targets),
    }


def _tower_scores(
    context: EvaluationContext, rows: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n n"]:
    text = context.encodings.text_embeddings[rows].astype(np.float32)
    return text @ context.encodings.video_embeddings[rows].astype(np.float32).T


def _reranked(
    context: EvaluationContext, rows: Int[np.ndarray, " n"], size: int
) -> dict[str, np.ndarray]:
    """Ranks after the `size` best candidates were scored by the matching head."""
    scores = _tower_scores(context, rows)
    queries = np.repeat(np.arange(len(rows)), size)
    targets = np.arange(len(rows))
    out = {}
    for name, directed in zip(DIRECTIONS, (scores, scores.T), strict=True):
        short = ranking.shortlist(directed, size)
        sides = (queries, short.reshape(-1))
        texts, videos = sides if name == DIRECTIONS[0] else sides[::-1]
        logits = context.runner.matching_scores(context.encodings, rows[texts], rows[videos])
        out[f"reranked_{name}"] = ranking.reranked(
            ranking.ranks(directed, targets), short, logits.reshape(short.shape), targets
        )
    return out


def _examples(
    split: Split, ids: Int[np.ndarray, " n"], ranks: dict[str, np.ndarray]
) -> list[dict[str, object]]:
    texts = split.texts(ids.tolist())
    return [
        {
            "example_id": example,
            "video": split.videos[int(split.video[example])],
            "start": float(split.start[example]),
            "end": float(split.end[example]),
            "text": texts[row],
            **{f"{name}_rank": float(values[row]) for name, values in ranks.items()},
        }
        for row, example in enumerate(ids.tolist())
    ]
