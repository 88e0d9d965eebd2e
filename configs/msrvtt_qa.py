"""MSRVTT-QA (Xu et al. 2017): open questions about clips, by the 1,500 most frequent answers.

Begin with a network of these sizes that was pretrained on narrated video, such as
configs/univl_stage2.py's: --config.init.checkpoint=WORKDIR, and evaluate with
eval.py --task=question_answering. Numbers are those of ClipBERT's published settings (Lei et al.
2021, arXiv 2102.06183) where nothing else is said. What differs:

* Clip features are given; there the 2D network that makes them learns too, and two frames of each
  of eight clips are seen.
* A cosine after the warm-up, where theirs falls in a line; gradients are clipped at 1, not at 5.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "msrvtt_qa"
    config.data.path = "runs/data/msrvtt_qa"
    config.data.block_size = 128  # 16 on each of several GPUs there
    config.data.text_length = 32  # questions have 7 words on average; theirs may have 100 pieces
    config.data.video_length = 48  # clips last 10 to 30 s; as in UniVL's fine-tuning
    config.data.vocabulary_size = 30_592  # BERT's, padded, where none is given
    config.data.masking.text_rate = 0.0  # all of a question is needed to answer it
    config.data.masking.video_rate = 0.0
    config.model.answers = 1500
    config.model.norm = "post"  # BERT-base's, as is the epsilon
    config.model.norm_epsilon = 1e-12
    base.train_only(config, answering=1.0)
    # What answers are told from; the head begins anew.
    config.init.modules = "text_tower,video_tower,cross_encoder,pooler"
    config.optimizer.learning_rate = 5e-5
    config.optimizer.weight_decay = 1e-3
    config.training.num_steps = 12_400  # 10 epochs of 158,581 questions
    config.training.eval_every = 1240  # an epoch
    config.training.eval_tasks = "question_answering"
    config.training.best_metric = "question_answering/accuracy"
    return config
