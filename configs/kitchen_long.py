"""The embedded corpus for 20 minutes on two CPU cores: as `kitchen`, and words past the tower.

Cooks speak early, late and about something else: a line has the clips of the scene that it is said
over, and lines that say nothing of what is seen are left out. `videobert align
--dataset=runs/data/kitchen --output=runs/data/kitchen.alignment.safetensors` finds out, in seconds.

Few videos are told apart by whatever sets them apart. So the words of a caption are told by a
linear map of the clips' features, which a thousand lines teach, with dropout in place of a ridge's
penalty; and each clip that the tower reads is mixed with up to half of another example's, so that
the joint space learns for longer before it knows its captions by heart. How all of it was chosen is
in docs/results.md (What limits it).
"""

import ml_collections

from configs import kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_long"
    config.data.sources.main.alignment = "runs/data/kitchen.alignment.safetensors"
    config.model.video.input_mixing_rate = 0.5
    config.model.masked_video_head = (
        "regression"  # a choice among clips tells words apart less well
    )
    config.model.bag_of_words_head = True
    config.model.bag_of_words_reads = "features"
    config.model.bag_of_words_dropout_rate = 0.1  # a ridge's penalty of a ninth
    config.objectives.bag_of_words.weight = 1.0
    config.training.num_steps = 3000
    config.training.save_every = 500
    config.training.eval_every = 0
    return config
