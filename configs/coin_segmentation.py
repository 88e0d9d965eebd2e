"""COIN's frames (Tang et al. 2019): 778 steps or none, as VideoCLIP is fine-tuned (section 5).

Begin with a pretrained run: --config.init.checkpoint=WORKDIR of configs/videoclip.py or another,
whose features and network these settings must then be. The dataset is `videobert prepare coin` with
features a second (docs/datasets.md); evaluate with --task=action_segmentation.

There windows are cut from whole videos; here one lies around any clip of a step, so that far from
all steps there are fewer. The network is VideoCLIP's, the numbers below are ours.
"""

import ml_collections

from configs import base, videoclip


def get_config() -> ml_collections.ConfigDict:
    config = videoclip.get_config()
    config.name = "coin_segmentation"
    config.data.path = "runs/data/coin"
    steps = base.source(split="train", regime="video_only")
    config.data.sources = ml_collections.ConfigDict({"main": steps})
    config.data.clip_labels = "step"
    config.model.clip_labels = 778  # of all 180 tasks
    config.data.block_size = 64
    config.data.read_group = 1
    config.data.blocks_per_batch = 1
    config.data.text_length = 8  # nothing is read
    config.data.drawing.overlapped_min_clips = 16
    config.data.drawing.overlapped_max_clips = 32
    base.train_only(config, segmentation=1.0)
    config.init.modules = "text_tower,video_tower,joint_head"  # its head begins from 0
    config.optimizer.warmup_steps = 200
    config.training.num_steps = 4400  # 8 epochs of some 35,000 steps
    config.training.eval_every = 0  # COIN has no validation videos
    config.training.eval_tasks = "action_segmentation"
    return config
