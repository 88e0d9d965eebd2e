"""The embedded corpus on two CPU cores, in minutes: the main job of `make pretrain`."""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "kitchen"
    config.data.path = "runs/data/kitchen"
    config.data.sources = ml_collections.ConfigDict(
        {
            "main": base.source(),
            # a third of the blocks: the narration of videos that were never drawn
            "transcripts": base.source(split="transcripts", regime="text_only", weight=0.5),
        }
    )
    config.data.block_size = 64  # a block has 61 % twins at this size, so most negatives are real
    # Four captions of 16 pieces and four steps of 2 to 4 clips a row: 1.7 times as fast as a row
    # each, which would be half padding.
    config.data.examples_per_row = 4
    config.data.text_length = 72
    config.data.video_length = 16
    config.data.vocabulary_size = 512
    config.data.masking.text_rate = 0.3  # short captions, few of them: more targets a pass
    config.data.executor = "threads"  # the same bytes; TensorFlow takes ten seconds to start
    config.model.embed_dim = 256
    config.model.num_heads = 4
    config.model.feed_forward_dim = 512
    config.model.joint_dim = 128
    config.model.compute_dtype = "float32"  # CPUs gain nothing from bfloat16
    config.model.text.num_layers = 2
    config.model.text.max_length = 96
    config.model.video.num_layers = 2
    config.model.video.max_length = 64
    config.model.cross.num_layers = 1
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 100
    config.optimizer.weight_decay = 0.05
    config.training.num_steps = 800
    config.training.save_every = 200
    config.training.eval_every = 200
    return config
