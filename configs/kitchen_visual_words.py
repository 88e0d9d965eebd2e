"""The embedded corpus with VideoBERT's visual words (Sun et al. 2019), for `videobert demonstrate`.

First `videobert fit-visual-words --dataset runs/data/kitchen --branching 12 --depth 2
--output runs/kitchen_words.safetensors`.
"""

import ml_collections

from configs import kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "kitchen_visual_words"
    config.data.visual_words = "runs/kitchen_words.safetensors"
    config.model.masked_video_head = "visual_words"
    config.model.visual_words.branching = 12
    config.model.visual_words.depth = 2  # 144 words of 5,600 clips; the paper has 20,736
    # What a sentence looks like is told where no clip is shown, what comes next where the steps
    # before it are: most clips of half the examples are hidden, and many have two steps.
    config.data.masking.video_examples = 0.5
    config.data.masking.video_rate = 0.6
    config.data.masking.video_mean_span = 3.0
    config.data.drawing.joined_examples = 0.5
    config.data.examples_per_row = 2  # two steps each
    config.objectives.masked_video.weight = 1.0
    config.training.num_steps = 1200
    return config
