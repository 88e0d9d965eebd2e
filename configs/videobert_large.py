"""24 text, 12 video, 4 cross layers, 1,024 wide, on a TPU pod slice."""

import ml_collections

from configs import videobert_base


def get_config() -> ml_collections.ConfigDict:
    config = videobert_base.get_config()
    config.name = "videobert_large"
    config.data.blocks_per_batch = 64
    config.model.embed_dim = 1024
    config.model.num_heads = 16
    config.model.feed_forward_dim = 4096
    config.model.text.num_layers = 24
    config.model.video.num_layers = 12
    config.model.cross.num_layers = 4
    config.model.remat = "full"
    config.optimizer.learning_rate = 5e-5
    # With 4 devices less is sent than with 16, and the state fits a v5e (docs/results.md).
    config.mesh.fsdp = 4
    return config
