"""The embedded corpus for an hour on two CPU cores: more passes, held back by more dropout.

Never run: trials say that retrieval gets worse this way (docs/results.md, What limits it).
"""

import ml_collections

from configs import kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_long"
    config.data.blocks_per_batch = 2  # 128 examples: twice the negatives
    config.model.dropout_rate = 0.2
    config.optimizer.warmup_steps = 300
    config.training.num_steps = 9000
    config.training.save_every = 500
    config.training.eval_every = 500
    return config
