"""The embedded corpus for an hour on two CPU cores: more passes, held back from learning by heart.

Few videos are told apart by whatever sets them apart. So each example comes changed every time: up
to four fifths of a clip are another example's, four fifths of its dimensions are hidden, and the
towers are narrow. Blocks of 256 then give the contrastive loss enough other objects to tell apart.
It is no better than the short recipe as yet (docs/results.md, What limits it).
"""

import ml_collections

from configs import kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_long"
    config.data.sources.transcripts.weight = 0.15
    config.data.block_size = 256
    config.model.embed_dim = 128  # per example 2.5 times as fast as 256, and no worse
    config.model.feed_forward_dim = 256
    config.model.dropout_rate = 0.3
    config.model.video.input_dropout_rate = 0.8
    config.model.video.input_mixing_rate = 0.8
    config.optimizer.warmup_steps = 300
    config.training.num_steps = 8000
    config.training.save_every = 800
    config.training.eval_every = 800
    return config
