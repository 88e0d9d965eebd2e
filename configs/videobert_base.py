"""Towers as UniVL and its successors have them: 12 text, 6 video, 2 cross layers, 768 wide."""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "videobert_base"
    config.data.blocks_per_batch = 16  # 4,096 examples: contrast gains with the batch (MIL-NCE)
    config.data.text_length = 64
    config.data.video_length = 64
    config.data.vocabulary_size = 30_592
    # For chips of 16 GB; "none" moves less where a chip has 24 (docs/results.md).
    config.model.remat = "dots"
    config.training.eval_every = 5000
    return config
