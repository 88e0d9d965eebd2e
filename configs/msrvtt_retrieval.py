"""Retrieval on MSR-VTT, 9k training videos, fine-tuned as UniVL's FT-Joint.

R@1 27.2 on 1k-A from UniVL's second stage. What configs/youcook2_retrieval.py says, here too: where
to begin, whose numbers these are, and what differs. Of 20 captions of a video, blocks have any, and
those of one video are no negatives of each other.
"""

import ml_collections

from configs import youcook2_retrieval


def get_config() -> ml_collections.ConfigDict:
    config = youcook2_retrieval.get_config()
    config.name = "msrvtt_retrieval"
    config.data.path = "runs/data/msrvtt"
    config.data.block_size = 128
    config.optimizer.learning_rate = 5e-5
    config.optimizer.warmup_steps = 700  # a tenth of the steps, the code's default
    config.training.num_steps = 7000  # 5 epochs of 9,000 videos with 20 captions each
    config.training.save_every = 1400  # an epoch
    config.training.eval_every = 0  # the 9k split leaves no validation videos
    config.training.eval_tasks = "retrieval"
    config.training.best_metric = ""
    return config
