"""UniVL's second stage (Luo et al. 2020, arXiv 2002.06353): all five objectives and the decoder.

Begin with the first stage: --config.init.checkpoint=WORKDIR of configs/univl_stage1.py. Numbers
without a section are those of the authors' published commands. What differs from the paper:

* What configs/univl_stage1.py says, here too.
* Alignment is of each pair with one mismatched partner of the batch; theirs is of all pairs of a
  device's batch.
* Masked clips are told among the clips of a block, and two neighbouring ones are hidden at a time.
* Labels of the decoder are smoothed by 0.1.
"""

import ml_collections

from configs import univl_stage1


def get_config() -> ml_collections.ConfigDict:
    config = univl_stage1.get_config()
    config.name = "univl_stage2"
    config.data.block_size = 360  # 960 videos a step, three neighbouring pairs of each: 2,880
    config.data.target_length = 48  # as the text's, which it is to write
    config.data.masking.text_rate = 0.15  # section 3.3, conditioned masked language and frames
    config.data.masking.video_rate = 0.15
    config.data.masking.whole_text_examples = 0.15  # section 3.4, enhanced video representation
    config.model.decoder.num_layers = 3
    # Section 3.3 sums joint, masked language, masked frames, alignment and reconstruction.
    config.objectives.masked_language.weight = 1.0
    config.objectives.masked_video.weight = 1.0
    config.objectives.matching.weight = 1.0
    config.objectives.captioning.weight = 1.0
    config.objectives.captioning.chunks = 8  # logits of 45 of 360 rows at a time
    # What stage one has learnt; cross-modal encoder, pooler, heads and decoder begin anew.
    config.init.modules = "text_tower,video_tower,joint_head"
    config.training.num_steps = 62_500  # 50 epochs of 1.2 M videos
    return config
