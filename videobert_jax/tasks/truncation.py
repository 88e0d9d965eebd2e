"""How many of the evaluated examples were cut because they are longer than the rows."""

import numpy as np
from jaxtyping import Int

from videobert_jax import schema
from videobert_jax.tasks.context import EvaluationContext


def counts(context: EvaluationContext, ids: Int[np.ndarray, " n"]) -> dict[str, int]:
    """Number of examples with fewer clips, and with fewer pieces, than they have on disk."""
    split, encodings = context.split, context.encodings
    rows = encodings.rows_of(ids)
    clips = (encodings.video_segment_ids[rows] != schema.NO_SEGMENT).sum(axis=1)
    pieces = (encodings.text_segment_ids[rows] != schema.NO_SEGMENT).sum(axis=1)
    written = np.array([len(p) for p in context.runner.tokenizer.encode(split.texts(ids.tolist()))])
    return {
        "video_examples_cut": int((clips < split.clip_count[ids]).sum()),
        "text_examples_cut": int((pieces < written + 2 * (written > 0)).sum()),
    }
