"""Pretraining on HowTo100M with all objectives, on towers of UniVL's size.

The field's consensus for towers on frozen features, put together; no single paper has it. Begin
with BERT-base: --config.init.bert=DIR. What is of whom, and what differs:

* MIL-NCE (Miech et al. 2020, arXiv 1912.06430): 8,192 pairs a batch, neighbours in time as
  positives (a softmax a direction, theirs is one over both), 512 dimensions of the joint space.
* VideoCLIP (Xu et al. 2021, arXiv 2109.14084): clips that overlap their captions, of half of them.
* UniVL (Luo et al. 2020, arXiv 2002.06353): the towers, the rate, whole texts told from the clips;
  not its decoder, nor its first stage of contrast alone.
* ALBEF (Li et al. 2021, arXiv 2107.07651): hard negatives for matching.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "howto100m"
    config.data.path = "runs/data/howto100m"
    config.data.blocks_per_batch = 32  # MIL-NCE: 8,192 pairs
    config.data.read_group = 4  # neighbours that are positives come together, and are read at once
    # Captions are 4 s long, so rows of eight: `videobert fit-packing` fits them to the dataset.
    config.data.examples_per_row = 8
    config.data.text_length = 128
    config.data.video_length = 128
    config.data.vocabulary_size = 30_592  # BERT's, padded, where none is given
    config.data.drawing.overlapped_examples = 0.5  # ours: the other half as it was spoken
    config.data.drawing.overlapped_max_clips = 16  # so that eight still fit a row
    config.data.masking.whole_text_examples = 0.15  # UniVL, section 3.4
    config.model.norm = "post"  # BERT-base's, as is the epsilon
    config.model.norm_epsilon = 1e-12
    config.model.remat = "dots"
    config.objectives.matching.negatives = "hard"
    config.objectives.contrastive.near_clips = 8  # MIL-NCE: the five captions next in time, of 4 s
    config.objectives.contrastive.chunks = 4  # half the memory on 8 devices (docs/results.md)
    config.optimizer.learning_rate = 1e-4  # UniVL's published pretraining
    config.optimizer.warmup_steps = 5000  # ours, for the larger batch
    config.training.num_steps = 166_000  # 10 epochs of 136 M captions, ours
    config.training.keep_checkpoints = 2
    return config
