"""configs/tiny.py with what a sum over blocks can go wrong in: dropout, packed rows, sources of two
kinds, objectives with negatives of the block and of the batch, a moving average, and two stages."""

import ml_collections

from configs import base, tiny

NUM_STEPS, SECOND_STAGE, BLOCKS, BLOCK_SIZE = 24, 9, 8, 4


def get_config() -> ml_collections.ConfigDict:
    config = tiny.get_config()
    config.exact = True
    config.data.sources = ml_collections.ConfigDict(
        {"main": base.source(), "spoken": base.source(regime="text_only", weight=0.5)}
    )
    config.data.block_size = BLOCK_SIZE
    config.data.blocks_per_batch = BLOCKS
    config.data.examples_per_row = 2
    config.data.text_length = 24
    config.data.target_length = 0
    config.data.executor = "threads"
    config.model.text.num_layers = 1
    config.model.video.num_layers = 1
    config.model.decoder.num_layers = 0
    config.model.bag_of_words_head = False
    config.objectives.bag_of_words.weight = 0.0
    config.objectives.captioning.weight = 0.0
    config.optimizer.warmup_steps = 2
    config.training.num_steps = NUM_STEPS
    config.training.log_every = 1
    config.training.save_every = NUM_STEPS
    config.training.keep_checkpoints = 3
    config.stages = [
        # the towers' contrast first, of pairs alone
        base.stage(
            SECOND_STAGE,
            {
                "objectives.masked_language.weight": 0.0,
                "objectives.masked_video.weight": 0.0,
                "objectives.matching.weight": 0.0,
                "data.sources.spoken.weight": 0.0,
                "optimizer.frozen": "cross_encoder",
            },
        ),
        base.stage(
            NUM_STEPS - SECOND_STAGE,
            {"optimizer.learning_rate": 5e-4, "optimizer.ema_decay": 0.9},
        ),
    ]
    return config
