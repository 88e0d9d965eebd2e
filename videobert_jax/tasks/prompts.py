"""Labels told apart in the joint space: a sentence for each beside the clips.

After CLIP (Radford et al. 2021, section 3.1): templates filled with a label's base form. Where a
template has other slots too, every label of those is tried, since they are not known, and the
label scores as all of its sentences together.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from videobert_jax.tasks import labels
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.text import templates

SCORE = "a label's share of exp(scale x cosine) over the sentences of all labels"
MOST_OTHERS = 32  # fillings of the other slots of a template; of more, so many spread evenly


def scores(
    context: EvaluationContext,
    slot: str,
    texts: Sequence[str],
    forms: Mapping[str, labels.Forms],
    videos: Float[np.ndarray, "n j"],
) -> Float[np.ndarray, "n k"]:
    """Log-probability of each label of `slot` for videos in the joint space.

    A label's share of exp(scale x cosine) over the sentences of all labels, every filling of the
    other slots alike; the mean over the templates `texts`. `forms`: those of every slot.
    """
    each = []
    for text in texts:
        written = sentences(context, slot, text, forms)
        embedded = context.runner.text_embeddings(written)
        logits = context.runner.contrastive_scale * videos @ embedded.T
        by_label = logits.reshape(len(videos), len(forms[slot]), -1)
        each.append(log_softmax(np.logaddexp.reduce(by_label, axis=2)))
    return np.mean(each, axis=0)


def log_softmax(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Log of the shares of exp(values) in the sum over each row."""
    return values - np.logaddexp.reduce(values, axis=1, keepdims=True)


def sentences(
    context: EvaluationContext, slot: str, text: str, forms: Mapping[str, labels.Forms]
) -> list[list[int]]:
    """Piece ids of as many sentences a label, label after label; cut as in training."""
    others = [other for other in templates.slots(text) if other != slot and other in forms]
    fillings = list(itertools.product(*([of[0] for of in forms[o].values()] for o in others)))
    kept = np.unique(np.linspace(0, len(fillings) - 1, MOST_OTHERS).astype(int))
    longest, tokenizer = context.bundle.data.text_length, context.runner.tokenizer
    written = []
    for base, *_ in forms[slot].values():
        for place in kept.tolist():
            words = {slot: base, **dict(zip(others, fillings[place], strict=True))}
            *ids, last = templates.filled(text, words, tokenizer)
            written.append([*ids[: longest - 1], last])
    return written
