"""Captions and clips in one space, for retrieval, from a pretrained kitchen run in minutes:

python train.py --config=configs/kitchen_retrieval.py --workdir=runs/kitchen_retrieval
  --config.init.checkpoint=runs/kitchen
"""

import ml_collections

from configs import base, kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_retrieval"
    # Exact steps, as they are evaluated; pretraining had noisy narration.
    config.data.sources = ml_collections.ConfigDict({"main": base.source(split="train_steps")})
    config.data.masking.text_rate = 0.0  # the contrast alone: nothing is told of what is hidden
    config.data.masking.video_rate = 0.0
    config.data.masking.whole_pairs = False
    base.train_only(config, contrastive=2.0)
    # All that a cosine of the towers needs: no head that nobody trains.
    config.init.modules = "text_tower,video_tower,joint_head"
    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 40
    config.training.num_steps = 300
    config.training.eval_every = 100
    config.training.eval_tasks = "retrieval"
    config.training.best_metric = "retrieval/text_to_video_R1"
    return config
