"""Heads of a network that tasks ask, and whether they were ever trained.

A head that no objective taught answers at random, and nothing in a figure would show it. So tasks
refuse it, unless that is what is to be measured (`EvaluationContext.untrained_heads`).
"""

import numpy as np
from jaxtyping import Float

from videobert_jax.objectives import config as objectives
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError, UntrainedHead

WORDS, MATCHING, JOINT = (
    objectives.HEADS[name] for name in ("masked_language", "matching", "contrastive")
)
BAG_OF_WORDS, DECODER, ANSWERS, CLIP_LABELS = (
    objectives.HEADS[name] for name in ("bag_of_words", "captioning", "answering", "segmentation")
)


def may_ask(context: EvaluationContext, head: str) -> bool:
    """Whether a head of the context's network was trained, as far as its run says, or may be asked
    all the same."""
    return context.untrained_heads or head not in context.bundle.untrained_heads


def require(context: EvaluationContext, head: str, what: str) -> None:
    """Raises UntrainedHead where `what` is told by a `head` that may not be asked in `context`."""
    if may_ask(context, head):
        return
    taught_by = [f"objectives.{name}" for name, of in objectives.HEADS.items() if of == head]
    raise UntrainedHead(
        f"{what} is told by {head}, which {context.bundle.name} never trained: its weight of "
        f"{' or '.join(taught_by)} is 0, and no trained one was taken over (init.modules). "
        "Evaluate a network that learnt it, or say --untrained-heads to measure it all the same."
    )


def piece_presence(
    context: EvaluationContext, asked: str, instead: str
) -> Float[np.ndarray, "n w"]:
    """How likely the caption of each encoded example has each piece, by the bag-of-words head.

    Raises EvaluationError, saying what `asked` for it and what to do `instead`, where the network
    has no such head.
    """
    found = context.encodings.piece_presence
    if found is None:
        raise EvaluationError(
            f"{asked} needs a network with the bag-of-words head, and {context.bundle.name} has "
            f"none; train with objectives.bag_of_words, or {instead}."
        )
    return found
