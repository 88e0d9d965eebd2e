"""Captions in one form of the embedded corpus, from a network that configs/kitchen.py pretrained.

python -m videobert_jax prepare kitchen_captions --output runs/data/kitchen_captions
python train.py --config=configs/kitchen_captioning.py --workdir=runs/kitchen_captioning
  --config.init.checkpoint=runs/kitchen
"""

import ml_collections

from configs import base, kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_captioning"
    config.data.path = "runs/data/kitchen_captions"
    config.data.sources = ml_collections.ConfigDict({"main": base.source()})
    config.data.target_length = 48  # four captions of up to 11 pieces
    config.data.masking.whole_pairs = False
    config.data.masking.text_rate = 0.0  # nothing is told of what is hidden
    config.data.masking.video_rate = 0.0
    config.model.decoder.num_layers = 1
    base.train_only(config, captioning=1.0)
    config.objectives.captioning.inputs = "video"
    # The decoder begins anew: the pretraining has none.
    config.init.modules = "text_tower,video_tower,cross_encoder"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 50
    config.training.num_steps = 600
    config.training.save_every = 200
    config.training.eval_every = 200
    config.training.eval_tasks = "captioning"
    config.training.best_metric = "captioning/CIDEr_D"
    return config
