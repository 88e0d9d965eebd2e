"""1,350 stills of YouCook II with their sentences, and 1,736 transcripts as text alone."""

import ml_collections

from configs import base, kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()
    config.name = "youcook2_keyframes"
    config.data.path = "runs/data/youcook2_keyframes"
    config.data.sources = ml_collections.ConfigDict(
        {
            "main": base.source(),
            # a fifth of the blocks: words of cooking that 1,350 sentences do not hold, from the
            # transcripts of videos that are not in validation
            "transcripts": base.source(split="transcripts_train", regime="text_only", weight=0.25),
        }
    )
    config.data.block_size = 128
    config.data.text_length = 96
    config.data.video_length = 8  # four stills
    config.model.text.max_length = 128
    config.data.vocabulary_size = 4096
    config.data.masking.text_rate = 0.15
    config.model.dropout_rate = 0.3  # 1,350 pairs are memorised in a few epochs
    # Averages of clips and of pieces, with what a still says of its words beside the contrast: as
    # good in R@10 as layers, and 20 places better in median rank (docs/results.md).
    config.model.text.num_layers = 0
    config.model.video.num_layers = 0
    config.model.bag_of_words_head = True
    config.objectives.bag_of_words.weight = 1.0
    config.objectives.masked_video.weight = 0.0  # nothing is left when the only clip is masked
    config.data.masking.video_rate = 0.0
    config.training.num_steps = 200  # 15 epochs of the pairs: 300 steps only memorise them
    config.training.save_every = 100
    config.training.eval_every = 0
    return config
