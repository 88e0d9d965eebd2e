"""How alike captions and clips are: by the towers, by the words that a clip's caption is expected
to have, or by both.
"""

import numpy as np
from jaxtyping import Int

from videobert_jax.tasks import trained_heads, word_presence
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import similarity
from videobert_jax.tasks.metrics.similarity import Products

TOWERS, WORDS, BOTH = "towers", "words", "both"
RANKED_BY = {  # -> what the record says of it
    TOWERS: "cosine of the towers' embeddings",
    WORDS: "cosine of the caption's pieces and those it is expected to have, by rarity",
    BOTH: "mean of the cosine of the towers' embeddings and that of the caption's pieces and those "
    "it is expected to have, by rarity",
}


def require_heads(context: EvaluationContext, rank_by: str, what: str) -> None:
    """Raises EvaluationError where there is no such way, UntrainedHead where a head that it asks
    was never trained."""
    if rank_by not in RANKED_BY:
        raise EvaluationError(f"rank_by {rank_by!r} is none of {', '.join(RANKED_BY)}.")
    if rank_by != WORDS:
        trained_heads.require(context, trained_heads.JOINT, what)
    if rank_by != TOWERS:
        trained_heads.require(context, trained_heads.BAG_OF_WORDS, f"{what} by {rank_by}")


def of(
    context: EvaluationContext,
    ids: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " n"],
    rank_by: str,
) -> Products:
    """Of captions and clips, by one of RANKED_BY. Raises as `trained_heads.piece_presence`."""
    if rank_by == TOWERS:
        return of_towers(context, rows)
    captions = context.runner.sentences(context.split.texts(ids.tolist()))
    presence = trained_heads.piece_presence(context, f"rank_by {rank_by!r}", f"rank by {TOWERS!r}")
    words = word_presence.similarity(context.runner.tokenizer, captions, presence[rows])
    return words if rank_by == WORDS else similarity.mean(of_towers(context, rows), words)


def of_towers(context: EvaluationContext, rows: Int[np.ndarray, " n"]) -> Products:
    """By the joint space alone."""
    text = context.encodings.text_embeddings[rows].astype(np.float32)
    return Products(text, context.encodings.video_embeddings[rows].astype(np.float32))
