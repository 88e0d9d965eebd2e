"""CrossTask's steps (Zhukov et al. 2019) after UniVL or VideoCLIP: a fold's 540 training videos.

Begin with a pretrained run: --config.init.checkpoint=WORKDIR of configs/univl_stage2.py or
configs/videoclip.py, whose features and network these settings must then be. The dataset is
`videobert prepare crosstask --fold N` (docs/datasets.md); evaluate with --task=step_localization.

A step's name and clips around it are a pair of the contrast; the same step is never a negative of
itself (a caption's twin). The network is VideoCLIP's, the numbers below are ours.
"""

import ml_collections

from configs import base, videoclip


def get_config() -> ml_collections.ConfigDict:
    config = videoclip.get_config()
    config.name = "crosstask_localization"
    config.data.path = "runs/data/crosstask_0"
    config.data.sources = ml_collections.ConfigDict({"main": base.source(split="train")})
    config.data.block_size = 128
    config.data.read_group = 1
    config.data.blocks_per_batch = 1  # some 4,000 examples of 105 steps
    config.data.text_length = 16  # names of three or four words
    # Seconds are evaluated by the clip nearest to each, alone or with few neighbours.
    config.data.video_length = 16
    config.data.drawing.overlapped_min_clips = 1
    config.data.drawing.overlapped_max_clips = 8
    config.optimizer.warmup_steps = 100
    config.training.num_steps = 1000  # 31 epochs
    config.training.eval_every = 0  # a fold has no validation videos
    config.training.eval_tasks = "step_localization"
    return config
