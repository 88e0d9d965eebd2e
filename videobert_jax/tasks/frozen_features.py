"""Features of examples from a network that is left as it is: a vector of each example's clips."""

import jax
import numpy as np
from jaxtyping import Float, Int

from videobert_jax.data import device_feed
from videobert_jax.data.index import Split
from videobert_jax.tasks import programs, rows
from videobert_jax.tasks.encoding import ModelRunner

NAMES = ("joint_embedding", "video_tower", "cross_modal")  # as programs.vectors_of_clips has them


def of_examples(
    runner: ModelRunner, split: Split, ids: Int[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, "n k"]]:
    """Each of NAMES: a vector of every example's clips, float32, in the order of `ids`.

    No text is read, and no more than a batch of states is in memory. Raises DatasetError where a
    shard is damaged.
    """
    builder = rows.clips_builder(runner.tokenizer, runner.bundle.data, split, np.unique(ids))
    function = programs.compiled(runner.bundle.config, runner.mesh).vectors_of_clips
    parts: list[dict[str, np.ndarray]] = []
    with jax.set_mesh(runner.mesh):
        for batch in device_feed.evaluation_batches(builder, runner.mesh, runner.blocks_per_batch):
            outputs = jax.device_get(function(runner.variables, batch))
            parts.append({k: v.reshape(-1, *v.shape[2:]) for k, v in outputs.items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # padding goes, and what two processes both have built is kept once
    known, first = np.unique(joined["example_ids"], return_index=True)
    own = first[np.searchsorted(known, ids)]
    return {name: joined[name][own] for name in NAMES}
