"""Captioning on YouCook II, fine-tuned as UniVL's (Luo et al. 2020, arXiv 2002.06353).

Begin with --config.init.checkpoint=WORKDIR of configs/univl_stage2.py; evaluate with --beams=5.
From the clips alone BLEU-4 is 11.17 and CIDEr 1.27 there; with what is said, 17.79 and 1.86:
--config.data.sources.main.transcripts=train_narration --config.objectives.captioning.inputs=both,
of a dataset prepared with --transcripts, and --transcripts=validation_narration in evaluation.
Numbers without a source are those of the authors' published command. What differs:

* BERT's layers learn as fast as the others, there at a tenth of the rate.
* Labels of the decoder are smoothed by 0.1, as in configs/univl_stage2.py.
* A cosine in the place of the linear decay.
"""

import ml_collections

from configs import base, univl_stage2


def get_config() -> ml_collections.ConfigDict:
    config = univl_stage2.get_config()
    config.name = "youcook2_captioning"
    config.data.path = "runs/data/youcook2"
    config.data.block_size = 16
    config.data.blocks_per_batch = 1
    config.data.read_group = 1
    config.data.text_length = 128
    config.data.video_length = 96  # seconds, at a feature a second
    config.data.target_length = 128
    config.data.masking.text_rate = 0.0  # nothing is told of what is hidden
    config.data.masking.video_rate = 0.0
    config.data.masking.whole_text_examples = 0.0
    config.model.remat = "none"  # so small a batch fits
    base.train_only(config, captioning=1.0)
    config.objectives.captioning.inputs = "video"
    config.objectives.captioning.chunks = 1
    config.init.modules = ""  # all of it, the decoder too
    config.optimizer.learning_rate = 3e-5
    config.optimizer.warmup_steps = 320  # a tenth of the steps, the code's default
    config.training.num_steps = 3200  # 5 epochs of 10,337 steps of videos
    config.training.save_every = 640  # an epoch
    config.training.eval_every = 640
    config.training.eval_tasks = "captioning"
    # chosen on the videos that are reported: WORKDIR@best is no result
    config.training.best_metric = "captioning/CIDEr_D"
    return config
