"""Fine-tuning to answer the embedded corpus' questions, on two CPU cores, in minutes.

python -m videobert_jax prepare kitchen_qa --output runs/data/kitchen_qa
python train.py --config=configs/kitchen_qa.py --workdir=runs/kitchen_qa \\
    --config.init.checkpoint=runs/kitchen
python eval.py --workdir=runs/kitchen_qa
"""

import ml_collections

from configs import base, kitchen


def get_config() -> ml_collections.ConfigDict:
    config = kitchen.get_config()  # the network is that of the checkpoint that it begins with
    config.name = "kitchen_qa"
    config.data.path = "runs/data/kitchen_qa"
    config.data.sources = ml_collections.ConfigDict({"main": base.source()})
    # Questions of 12 pieces on average; half of them are about whole videos of up to 28 clips.
    config.data.text_length = 56
    config.data.video_length = 56
    # Nothing is hidden: all of the question, and all that is seen, is needed to answer it.
    config.data.masking.text_rate = 0.0
    config.data.masking.video_rate = 0.0
    config.data.masking.whole_pairs = False
    config.model.answers = 128  # all 118 answers of the training questions
    base.train_only(config, answering=1.0)
    # What answers are told from; other heads have nothing to learn here.
    config.init.modules = "text_tower,video_tower,cross_encoder,pooler"
    config.optimizer.learning_rate = 5e-4  # half of pretraining's
    config.optimizer.warmup_steps = 50
    config.training.num_steps = 500
    config.training.save_every = 250
    config.training.eval_every = 250
    config.training.eval_tasks = "question_answering"
    config.training.best_metric = "question_answering/accuracy"
    return config
