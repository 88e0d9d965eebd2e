"""UniVL's first stage (Luo et al. 2020, arXiv 2002.06353) on HowTo100M: contrast alone.

Begin with BERT-base: --config.init.bert=DIR; configs/univl_stage2.py goes on from its checkpoint.
Numbers without a section are those of the authors' published commands. What differs from the paper:

* Negatives are those of the whole global batch, in their code of a device's part of a micro-batch.
* MIL-NCE has a softmax a direction, over neighbours whose first clips are 8 s apart at most.
* Twins (the same caption, or neighbouring clips of a video) are no negatives of each other.
* A cosine in the place of the linear decay, no half precision but bfloat16.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "univl_stage1"
    config.data.path = "runs/data/howto100m"
    # 1,920 videos a step, three neighbouring pairs of each: 5,760, a part for each of 8 devices.
    config.data.block_size = 720
    config.data.blocks_per_batch = 8
    config.data.read_group = 3
    config.data.text_length = 48
    config.data.video_length = 64  # seconds, at a feature a second
    config.data.vocabulary_size = 30_592  # BERT's, padded, where none is given
    config.data.masking.text_rate = 0.0  # nothing is told of what is hidden
    config.data.masking.video_rate = 0.0
    config.model.norm = "post"  # BERT-base's, as is the epsilon
    config.model.norm_epsilon = 1e-12
    config.model.remat = "dots"
    base.train_only(config, contrastive=1.0)
    config.objectives.contrastive.near_clips = 8  # two neighbours, of 4 s
    config.optimizer.learning_rate = 1e-4
    config.training.num_steps = 31_250  # 50 epochs of 1.2 M videos
    return config
