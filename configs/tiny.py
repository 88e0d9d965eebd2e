"""For tests and first tries: compiles in seconds, learns nothing worth keeping."""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "tiny"
    config.data.block_size = 8
    config.data.text_length = 16
    config.data.video_length = 8
    config.data.target_length = 16
    config.data.vocabulary_size = 300
    config.model.embed_dim = 32
    config.model.num_heads = 4
    config.model.feed_forward_dim = 64
    config.model.joint_dim = 16
    config.model.bag_of_words_head = True
    config.model.compute_dtype = "float32"
    config.model.text.num_layers = 2
    config.model.text.max_length = 32
    config.model.video.num_layers = 2
    config.model.video.max_length = 32
    config.model.cross.num_layers = 1
    config.model.decoder.num_layers = 1
    config.objectives.bag_of_words.weight = 0.1  # so that tests run every objective
    config.objectives.captioning.weight = 0.5
    config.objectives.captioning.chunks = 2
    config.objectives.matching.negatives = "hard"
    config.objectives.contrastive.near_clips = 3
    config.objectives.contrastive.chunks = 2
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 5
    config.training.num_steps = 20
    config.training.log_every = 5
    config.training.save_every = 10
    return config
