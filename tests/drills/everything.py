"""All that a resumed run has to find again, of a network that is compiled in seconds: packed rows,
sources of two kinds, blocks of near videos, a moving average, stages with settings of their own,
and evaluations with a best step."""

from typing import Any

import ml_collections

from configs import base, tiny
from tests.integration import runs
from videobert_jax import configuration

NUM_STEPS, SECOND_STAGE, SAVE_EVERY = 64, 20, 7
SETTINGS: dict[str, Any] = {
    **runs.SETTINGS,
    "data.block_size": 4,
    "data.blocks_per_batch": 2,  # for two processes
    "data.examples_per_row": 2,
    "data.text_length": 24,
    "data.sources.main.neighbour_videos": 3,
    "data.drawing.overlapped_examples": 0.5,
    "data.drawing.overlapped_max_clips": 4,
    "optimizer.ema_decay": 0.0,  # in the second stage
    "training.num_steps": NUM_STEPS,
    "training.save_every": SAVE_EVERY,
    "training.keep_checkpoints": 2,
    "training.eval_every": 15,
    "training.best_metric": "retrieval/text_to_video_R1",
}


def get_config() -> ml_collections.ConfigDict:
    config = tiny.get_config()
    config.data.sources = ml_collections.ConfigDict(
        {"main": base.source(), "spoken": base.source(regime="text_only", weight=0.5)}
    )
    for name, value in SETTINGS.items():
        configuration.apply_override(config, name, str(value))
    config.stages = [
        # the towers' contrast first, of pairs alone
        base.stage(
            SECOND_STAGE,
            {
                "objectives.masked_language.weight": 0.0,
                "data.sources.spoken.weight": 0.0,
                "optimizer.frozen": "cross_encoder",
            },
        ),
        # then masked words too, of twice as many examples
        base.stage(
            NUM_STEPS - SECOND_STAGE,
            {
                "data.blocks_per_batch": 4,
                "training.accumulation_steps": 2,
                "optimizer.learning_rate": 5e-4,
                "optimizer.ema_decay": 0.9,
            },
        ),
    ]
    return config
