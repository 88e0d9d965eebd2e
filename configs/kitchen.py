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
    config.data.block_size = 64  # most negatives of so small a block are real ones
    # Four captions of up to 14 words and four steps of 2 to 4 clips a row: 1.7 times as fast as a
    # row each, which would be half padding.
    config.data.examples_per_row = 4
    config.data.text_length = 64
    config.data.video_length = 16
    config.data.vocabulary_size = 1024  # every word of the corpus becomes one piece
    # Few captions, most of their words phrases: hide much of half the examples, rare words first,
    # and leave the others whole, as retrieval will see them. With nothing hidden the contrastive
    # loss alone went from 0.65 to 0.73 in text-to-video R@5.
    config.data.masking.text_rate = 0.45
    config.data.masking.text_examples = 0.5
    config.data.masking.text_frequency_exponent = 0.5
    config.data.masking.video_examples = 0.1
    config.data.masking.whole_pairs = True
    config.data.executor = "threads"  # the same bytes; TensorFlow takes ten seconds to start
    config.model.embed_dim = 256
    config.model.num_heads = 4
    config.model.feed_forward_dim = 512
    config.model.joint_dim = 128
    config.model.compute_dtype = "float32"  # CPUs gain nothing from bfloat16
    # One layer each learns as much from so few videos as two, in half the time.
    config.model.text.num_layers = 1
    config.model.text.max_length = 96
    config.model.video.num_layers = 1
    config.model.video.max_length = 64
    config.model.video.input_dropout_rate = 0.5
    config.model.cross.num_layers = 1
    config.objectives.masked_video.weight = 0.5
    config.objectives.contrastive.weight = 2.0  # it has less than half of the examples
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.weight_decay = 0.05
    config.training.num_steps = 1700
    config.training.save_every = 400
    config.training.eval_every = 400
    return config
