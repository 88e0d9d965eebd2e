"""configs/tiny.py with all that a resumed run has to find again: packed rows, sources of two kinds,
blocks of near videos, a moving average, and stages with settings of their own."""

import ml_collections

from configs import base, tiny


def get_config() -> ml_collections.ConfigDict:
    config = tiny.get_config()
    config.data.sources = ml_collections.ConfigDict(
        {"main": base.source(), "spoken": base.source(regime="text_only", weight=0.5)}
    )
    config.data.sources.main.neighbour_videos = 3
    config.data.block_size = 8
    config.data.examples_per_row = 2
    config.data.text_length = 24
    config.data.video_length = 8
    config.data.target_length = 16
    config.data.executor = "threads"
    config.data.drawing.overlapped_examples = 0.5
    config.data.drawing.overlapped_max_clips = 4
    config.model.text.num_layers = 1
    config.model.video.num_layers = 1
    config.optimizer.warmup_steps = 2
    config.training.num_steps = 60
    config.training.log_every = 1
    config.training.save_every = 4  # so often that many kills hit one; 60 / 4, 22 is none of them
    config.training.keep_checkpoints = 2
    config.stages = [
        # the towers' contrast first, of pairs alone
        base.stage(
            22,
            {
                "objectives.masked_language.weight": 0.0,
                "objectives.masked_video.weight": 0.0,
                "objectives.matching.weight": 0.0,
                "objectives.captioning.weight": 0.0,
                "data.sources.spoken.weight": 0.0,
                "optimizer.frozen": "cross_encoder,decoder",
            },
        ),
        # then everything, of twice as many examples
        base.stage(
            38,
            {
                "data.blocks_per_batch": 2,
                "training.accumulation_steps": 2,
                "optimizer.learning_rate": 5e-4,
                "optimizer.ema_decay": 0.9,
            },
        ),
    ]
    return config
