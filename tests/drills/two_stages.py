"""The tiny network of the tests of the loop in two stages, with evaluations and a best step: all
that a signal can fall into, in seconds."""

import ml_collections

from configs import base, tiny
from tests.integration import runs
from videobert_jax import configuration

NUM_STEPS, EVAL_EVERY = 40, 15


def get_config() -> ml_collections.ConfigDict:
    config = tiny.get_config()
    settings = {
        **runs.SETTINGS,
        "objectives.masked_language.weight": 0.0,
        "training.num_steps": NUM_STEPS,
        "training.save_every": 7,
        "training.eval_every": EVAL_EVERY,
        "training.best_metric": "retrieval/text_to_video_R1",
    }
    for name, value in settings.items():
        configuration.apply_override(config, name, str(value))
    config.stages = [
        base.stage(18, {}),
        base.stage(NUM_STEPS - 18, {"optimizer.learning_rate": 5e-4}),
    ]
    return config
