"""VideoCLIP's recipe (Xu et al. 2021, arXiv 2109.14084) on HowTo100M: overlapping clips, InfoNCE.

Begin with BERT-base: --config.init.bert=DIR --config.init.bert_video_layers=6. Numbers without a
section are those of the authors' published settings (MMPT, how2.yaml). What differs from the paper:

* Neighbouring clips of one video are no negatives of each other (objectives.twin_clip_distance).
* Negatives are those of the whole global batch, in their code of a device's own.
* Texts are the captions of single segments; the paper also cuts and joins captions to lengths of 8
  to 64 pieces.
* A cosine in the place of the polynomial decay, no half precision but bfloat16.
* Blocks of near videos (section 3.3) take an order of them, which `videobert cluster-videos` makes
  of a checkpoint: --config.data.sources.main.neighbours=FILE --config.data.read_group=1.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "videoclip"
    config.data.path = "runs/data/howto100m"
    config.data.block_size = 512  # 16 clips of each of 32 videos
    config.data.read_group = 16  # so that a video's stand together
    config.data.blocks_per_batch = 8  # a batch on each of 8 devices
    config.data.text_length = 64
    config.data.video_length = 32  # seconds, at a feature a second
    config.data.vocabulary_size = 30_592  # BERT's, padded, where none is given
    # Section 3.2: around any clip of the segment, 3 to 32 s; base.py has these lengths.
    config.data.drawing.overlapped_examples = 1.0
    config.data.masking.text_rate = 0.0  # one contrastive loss: nothing is told of what is hidden
    config.data.masking.video_rate = 0.0
    config.model.norm = "post"  # BERT-base's, as is the epsilon
    config.model.norm_epsilon = 1e-12
    config.model.video.input_normalization = "l2"  # as their features are (docs/features.md, mmpt)
    base.train_only(config, contrastive=1.0)
    config.optimizer.learning_rate = 5e-5
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 2.0
    config.training.num_steps = 107_000  # 25 epochs of 1.1 M videos, 256 a step
    return config
