"""Steps and their sentences in one space, for step localisation, from a pretrained run in minutes:

python train.py --config=configs/kitchen_localization.py --workdir=runs/kitchen_localization
  --config.init.checkpoint=runs/kitchen
"""

import ml_collections

from configs import base, kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_localization"
    config.data.sources = ml_collections.ConfigDict({"main": base.source(split="train_steps")})
    # Clips alone are evaluated: runs of 1 to 3 around any clip of a step.
    config.data.drawing.overlapped_examples = 1.0
    config.data.drawing.overlapped_min_clips = 1
    config.data.drawing.overlapped_max_clips = 3
    config.data.masking.text_rate = 0.0  # the contrast alone: nothing is told of what is hidden
    config.data.masking.video_rate = 0.0
    config.data.masking.whole_pairs = False
    base.train_only(config, contrastive=2.0)
    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 40
    config.training.num_steps = 300
    config.training.eval_every = 100
    config.training.eval_tasks = "step_localization"
    config.training.best_metric = "step_localization/average_recall"
    return config
