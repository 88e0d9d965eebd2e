"""Retrieval on YouCook II, fine-tuned as UniVL's FT-Joint (Luo et al. 2020, arXiv 2002.06353).

R@1 22.7 from UniVL's second stage: --config.init.checkpoint=WORKDIR of configs/univl_stage1.py or
univl_stage2.py. Numbers without a source are those of the authors' published command. What differs:

* BERT's layers learn as fast as the others, there at a tenth of the rate.
* Twins (the same caption, or neighbouring steps of a video) are no negatives of each other.
* A cosine in the place of the linear decay.
"""

import ml_collections

from configs import univl_stage1


def get_config() -> ml_collections.ConfigDict:
    config = univl_stage1.get_config()
    config.name = "youcook2_retrieval"
    config.data.path = "runs/data/youcook2"
    config.data.block_size = 32
    config.data.blocks_per_batch = 1
    config.data.read_group = 1
    config.data.text_length = 48
    config.data.video_length = 48  # seconds, at a feature a second
    config.model.remat = "none"  # so small a batch fits
    config.objectives.contrastive.near_clips = 0  # steps are far apart: no MIL-NCE
    config.init.modules = "text_tower,video_tower,joint_head"
    config.optimizer.learning_rate = 3e-5
    config.optimizer.warmup_steps = 160  # a tenth of the steps, the code's default
    config.training.num_steps = 1600  # 5 epochs of 10,337 steps of videos
    config.training.save_every = 320  # an epoch
    config.training.eval_every = 320
    config.training.eval_tasks = "retrieval"
    # chosen on the videos that are reported: WORKDIR@best is no result
    config.training.best_metric = "retrieval/text_to_video_R1"
    return config
