"""The embedded corpus for 20 minutes on two CPU cores: as `kitchen`, and words past the tower.

Few videos are told apart by whatever sets them apart. So the words of a caption are told by a
linear map of the clips' features, which a thousand lines teach, with dropout in place of a ridge's
penalty; and each clip that the tower reads is mixed with up to half of another example's, so that
the joint space learns for longer before it knows its captions by heart. How both were chosen is in
docs/results.md (What limits it).
"""

import ml_collections

from configs import kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_long"
    config.model.video.input_mixing_rate = 0.5
    config.model.bag_of_words_head = True
    config.model.bag_of_words_reads = "features"
    config.model.bag_of_words_dropout_rate = 0.25  # a ridge's penalty of a third
    config.objectives.bag_of_words.weight = 1.0
    config.training.num_steps = 3000
    config.training.save_every = 500
    config.training.eval_every = 0
    return config
