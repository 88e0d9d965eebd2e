"""Every setting, with unit and meaning: the only place with defaults. Other configs are diffs.

Any field is overridden on the command line: `--config.optimizer.learning_rate=3e-4`.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The whole tree of settings."""
    config = ml_collections.ConfigDict()
    config.name = "base"  # of the run, in logs and results
    config.seed = 0  # of parameters, order, masks and dropout
    # Parameters, moments and figures come out alike, bit for bit, over numbers of processes and
    # devices, data x fsdp, as far as docs/reliability.md says; one block at a time, so slower, and
    # with whole parameters and gradients on every device
    config.exact = False
    # Accelerators: a run that is taken again has the same bits; slower. On CPU it always has
    config.deterministic = False
    config.platform = ""  # "" takes the accelerator there is; "cpu" says that CPU is meant
    config.data = data()
    config.model = model()
    config.objectives = objectives()
    config.optimizer = optimizer()
    config.training = training()
    config.stages = ()  # one `stage` after another; none: the whole run is one
    # Devices an axis; -1 takes what is left. data x fsdp must divide data.blocks_per_batch.
    config.mesh = ml_collections.ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})
    # checkpoint: a workdir[@step] or an export to take params from, "" for random ones.
    # modules: comma-separated top-level modules to take, "" for all of them.
    # bert: a folder with a BERT of Hugging Face's (config.json, model.safetensors, tokenizer.json
    # or vocab.txt) that gives tokenizer, text tower and, where it has one, masked language head,
    # or, with model.text.input="bert_vectors", tokenizer and the tower's input; "" for none. With
    # it data.vocabulary_size means nothing.
    # bert_video_layers: how many of its first layers the video tower begins with as well.
    # visual_word_embeddings: "centroids", those of data.visual_words (VideoBERT: Sun et al. 2019,
    # section 4.4), or "random".
    config.init = ml_collections.ConfigDict(
        {
            "checkpoint": "",
            "modules": "",
            "bert": "",
            "bert_video_layers": 0,
            "visual_word_embeddings": "centroids",
        }
    )
    return config


def stage(steps: int, settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """One of config.stages: a number of steps, and by dotted name the settings that it changes.

    They may be those of optimizer, objectives, data.drawing and data.masking, the weights of
    data.sources, data.blocks_per_batch and training.accumulation_steps; warm-up and cosine are over
    the stage's steps. The steps of all stages add up to training.num_steps. A stage's settings are
    flags too: --config.stages.0.steps=100.
    """
    made = ml_collections.ConfigDict({"steps": steps})
    for name, value in settings.items():
        *groups, leaf = name.split(".")
        node = made
        for group in groups:
            if group not in node:
                node[group] = ml_collections.ConfigDict()
            node = node[group]
        node[leaf] = value
    return made


def train_only(config: ml_collections.ConfigDict, **weights: float) -> None:
    """Gives the objectives these weights, and all others, also of other packages, 0."""
    config.objectives.extra = ""
    for name, settings in config.objectives.items():
        if isinstance(settings, ml_collections.ConfigDict):
            settings.weight = weights.pop(name, 0.0)
    if weights:
        raise ValueError(f"{', '.join(weights)}: none of {', '.join(config.objectives)}.")


def source(
    split: str = "train",
    regime: str = "text_video",
    weight: float = 1.0,
    path: str = "",
    transcripts: str = "",
):
    """One weighted source of blocks: a split of a dataset; path "" is data.path.

    transcripts: a split of the same dataset whose sentences, where they overlap an example in its
    video, are the example's text in place of its caption; the caption is then only what
    objectives.captioning has to write.
    """
    return ml_collections.ConfigDict(
        {
            "path": path,
            "split": split,
            "weight": weight,
            "regime": regime,
            # file of cluster-videos: blocks gather near videos, hard negatives of each other
            # (VideoCLIP, Xu et al. 2021, section 3.3); FILE@DIGEST takes one with this digest
            # alone; "" takes all examples in random order
            "neighbours": "",
            # so many near videos' examples are shuffled together; VideoCLIP's 2 k
            "neighbour_videos": 64,
            # file of align: only the lines that say what is seen, each with the clips of its scene;
            # FILE@DIGEST takes one with this digest alone; "" takes all, as their times say
            "alignment": "",
            "transcripts": transcripts,
        }
    )


def data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    data.path = ""  # folder of the dataset, or a URL such as gs://bucket/set
    # folder on this machine's disk into which datasets are copied first; "" reads them where they
    # are, records of a bucket by a request each
    data.local_copy = ""
    data.sources = ml_collections.ConfigDict({"main": source()})
    data.block_size = 256  # examples a block: scope of packing and of local negatives
    data.blocks_per_batch = 1  # global batch = block_size x blocks_per_batch
    # `videobert fit-packing` fits the next four to a dataset
    data.examples_per_row = 1  # examples packed into a row
    data.text_length = 32  # pieces a row, [CLS] and [SEP] counted
    data.video_length = 32  # clip features a row
    data.target_length = 0  # pieces of captions to write a row, [SEP] counted, for captioning
    data.read_group = 1  # neighbouring examples that stay together in the order; >1 for slow disks
    data.vocabulary_size = 8192  # asked of sentencepiece; small corpora give fewer pieces
    data.visual_words = ""  # file of fit-visual-words, for model.masked_video_head="visual_words"
    data.content_words = ""  # file of content-words, for model.token_head
    data.clip_labels = ""  # kind of labels that model.clip_labels tells, such as "step"; "": none
    data.drawing = drawing()
    data.masking = ml_collections.ConfigDict()
    data.masking.text_rate = 0.15  # of pieces; BERT (Devlin et al. 2019), section 3.1
    data.masking.text_examples = 1.0  # share of examples of which words are hidden at all
    # words are drawn in proportion to frequency ** -exponent: 0 all alike, 0.5 as word2vec
    # thins out frequent words (Mikolov et al. 2013, section 2.3), for captions full of phrases
    data.masking.text_frequency_exponent = 0.0
    data.masking.text_mean_span = 1.0  # words; SpanBERT (Joshi et al. 2020, section 3.1) has 3.8
    # share of examples whose text is hidden as a whole, to be told from the clips: UniVL's
    # "enhanced video representation" (Luo et al. 2020, section 3.4) has 0.15
    data.masking.whole_text_examples = 0.0
    data.masking.video_rate = 0.15  # of clip features; VideoBERT (Sun et al. 2019), section 3.2
    data.masking.video_mean_span = 2.0  # clips; neighbours overlap in content and give it away
    data.masking.video_examples = 1.0  # share of examples of which clips are hidden at all
    data.masking.whole_words = True  # all pieces of a word, or none
    # True: matching and the contrastive loss take only examples of which nothing is hidden, as they
    # will be used; with shares below 1 alone, or there is none
    data.masking.whole_pairs = False
    data.executor = "auto"  # "tf", "threads"; "auto": tf.data where TensorFlow is installed
    data.workers = 2  # blocks built at a time, a process
    data.prefetch = 2  # built blocks kept ahead
    data.parallel_reads = 64  # calls for records under way at a time, a source and process
    data.max_damaged_fraction = 0.01  # of examples with NaN features before the run stops
    return data


def drawing() -> ml_collections.ConfigDict:
    """What an example takes of its video; in evaluation always the segment as it was written."""
    return ml_collections.ConfigDict(
        {
            # Share of examples that take clips overlapping their segment instead of the segment's:
            # centred on any of its clips, of min to max clips. VideoCLIP (Xu et al. 2021), section
            # 3.2, all examples, 3 to 32 s
            "overlapped_examples": 0.0,
            "overlapped_min_clips": 3,
            "overlapped_max_clips": 32,
            # Share of examples joined with the next segment of their video; VideoBERT, section 3.3
            "joined_examples": 0.0,
            # Every k-th clip, k from 1 to this, an example; VideoBERT, section 3.3, has 5
            "highest_rate": 1,
            # Clips of an example that has no text, 0: all; VideoBERT, section 4.1, has 16
            "run_clips": 0,
        }
    )


def model() -> ml_collections.ConfigDict:
    model = ml_collections.ConfigDict()
    model.embed_dim = 768
    model.num_heads = 12
    model.feed_forward_dim = 3072
    model.joint_dim = 512  # of the contrastive space
    model.bag_of_words_head = False  # for objectives.bag_of_words
    # what it reads: "tower", the video tower's outputs, or past it the "features", of which, with
    # few examples, 0.2 to 0.5 are best dropped
    model.bag_of_words_reads = "tower"
    model.bag_of_words_dropout_rate = 0.0
    model.token_head = False  # for objectives.token_contrastive; needs data.content_words
    # so many answers, the most frequent of training (labels of the kind "answer"), that the head of
    # objectives.answering tells; MSRVTT-QA's protocol has 1,500; 0: no head
    model.answers = 0
    # so many labels that the head of objectives.segmentation tells clips to show, beside none:
    # all of the kind data.clip_labels that training has; 0: no head
    model.clip_labels = 0
    # comma-separated package.module, whose Head is a head of the network, for objectives of other
    # packages that have parameters (docs/extending.md); "" for none
    model.extra_heads = ""
    # what is told of a hidden clip: itself among the block's ("nce"), its visual word
    # ("visual_words", which need data.visual_words), or its features ("regression")
    model.masked_video_head = "nce"
    # of the file that data.visual_words names; VideoBERT (Sun et al. 2019), section 4.2
    model.visual_words = ml_collections.ConfigDict({"branching": 12, "depth": 4})
    model.activation = "gelu"  # exact (erf), or "relu"
    model.norm = "pre"  # "post" where BERT weights are loaded
    model.norm_epsilon = 1e-6  # added to the variance; BERT's is 1e-12
    model.dropout_rate = 0.1  # of embeddings and of every residual branch
    # "dense": all pairs of a row under a mask. "kernel": on TPU, by segments: our own where a row
    # is one tile and heads fill 128 lanes, else flash attention. "cudnn": on GPU in bfloat16, its
    # flash attention under a mask. "lengths": rows of one example by their length, on GPU by cuDNN.
    # "auto": on TPU the kernel, flash attention's for rows of 256 or more alone, else dense
    model.attention = "auto"
    model.attention_dropout_rate = 0.0  # of attention probabilities; 0 is the fast path
    model.compute_dtype = "bfloat16"  # of matmuls; params, softmax, norms, losses are float32
    model.remat = "none"  # kept for the backward pass: everything, "dots", or "full" recomputation
    model.unroll_layers = False  # True: faster on CPU, slower to compile
    model.text = text_tower()
    # feature_dim 0: the dataset's. input_normalization: "none", "l2", "standardize"
    model.video = ml_collections.ConfigDict(
        {
            "num_layers": 6,
            "feature_dim": 0,
            "max_length": 512,
            "input_normalization": "standardize",
            # of the dimensions of clip features; against learning few videos by heart
            "input_dropout_rate": 0.0,
            # at most this share of a clip is another row's (mixup, its captions as they were)
            "input_mixing_rate": 0.0,
        }
    )
    model.decoder = ml_collections.ConfigDict({"num_layers": 0})  # of captions; UniVL has 3
    # share_directions: one set of attention weights for video to text and text to video
    model.cross = ml_collections.ConfigDict({"num_layers": 2, "share_directions": False})
    return model


def text_tower() -> ml_collections.ConfigDict:
    # vocabulary_size 0: the tokenizer's, padded to a multiple of 128. input: what the layers read,
    # "pieces", embedded and learnt, or "bert_vectors", hidden states of init.bert, which then is a
    # constant of the network, of the sizes that text.bert says (here BERT-base's)
    return ml_collections.ConfigDict(
        {
            "num_layers": 12,
            "vocabulary_size": 0,
            "max_length": 512,
            "input": "pieces",
            "bert": {
                "embed_dim": 768,
                "num_heads": 12,
                "feed_forward_dim": 3072,
                "num_layers": 12,  # its first ones
                "activation": "gelu",
                "norm_epsilon": 1e-12,
            },
        }
    )


def objectives() -> ml_collections.ConfigDict:
    """Weights; 0 switches an objective off and saves its compute."""
    return ml_collections.ConfigDict(
        {
            "masked_language": {"weight": 1.0},
            # temperature: of cosines, with clips or words; regression has none
            "masked_video": {"weight": 1.0, "temperature": 0.07},
            # negatives: "uniform", or "hard": drawn by the joint space's similarity, as in ALBEF
            "matching": {"weight": 1.0, "negatives": "uniform"},
            # near_clips: neighbours of a video whose first clips are this near are positives too
            # (MIL-NCE); it takes a data.read_group above 1 to meet any. chunks: parts of a block's
            # rows whose similarities are made one after the other; more of them for less memory
            "contrastive": {"weight": 1.0, "near_clips": 0, "chunks": 1},
            "bag_of_words": {"weight": 0.0},  # needs model.bag_of_words_head
            # every content word chooses its video among the block's, by its nearest clip (TACo,
            # Yang et al. 2021, the token-level loss); needs model.token_head. chunks: as above
            "token_contrastive": {"weight": 0.0, "temperature": 0.07, "chunks": 1},
            # matching as a choice between the right video and a text's hardest negatives of the
            # block by the joint space (TACo, cascade sampling); one cross-modal pass a negative
            "cascade": {"weight": 0.0, "negatives": 4},
            # inputs: what the decoder reads: "video", clips alone; "transcript", the text alone;
            # "both". Where a source has no transcripts its text is the caption, and what is hidden
            # of it is to be told. word_dropout: share of the written pieces that the decoder does
            # not see (Bowman et al. 2016). chunks: as above, of the logits over pieces
            "captioning": {
                "weight": 0.0,
                "label_smoothing": 0.1,
                "word_dropout": 0.0,
                "inputs": "both",
                "chunks": 1,
            },
            # the answer to the question that an example's text is; needs model.answers
            "answering": {"weight": 0.0},
            # which step a clip shows, or none; needs data.clip_labels and model.clip_labels
            "segmentation": {"weight": 0.0},
            # comma-separated package.module=WEIGHT, objectives of other packages
            # (docs/extending.md); "" for none
            "extra": "",
            # clips of one video this near are never negatives of each other
            "twin_clip_distance": 2,
        }
    )


def optimizer() -> ml_collections.ConfigDict:
    """AdamW (Loshchilov & Hutter 2019); linear warm-up, then a cosine to the end fraction."""
    return ml_collections.ConfigDict(
        {
            "learning_rate": 1e-4,
            "warmup_steps": 1000,
            "end_learning_rate_fraction": 0.0,
            "weight_decay": 0.01,
            "b1": 0.9,
            "b2": 0.98,
            "eps": 1e-6,
            "clip_norm": 1.0,  # of all gradients together; 0: they are not clipped
            # Learning rate of a layer: times this to the power of what stands above it, so that
            # heads have all of it and embeddings least; 1 all alike. ELECTRA (Clark et al. 2020)
            # has 0.8, 0.9 for its large model
            "layer_decay": 1.0,
            # comma-separated top-level modules, or text_tower, video_tower, heads, that stay as
            # they are: no update, no decay, no memory for the optimizer
            "frozen": "",
            # of an exponential moving average of the parameters, such as 0.999, that evaluation
            # and export then take; 0: none is kept
            "ema_decay": 0.0,
            # ZeRO-1 (Rajbhandari et al. 2020): moments and moving average are split over mesh.data
            # too, each shard of it updates its part of the parameters, and all gather them: as many
            # bytes as summing the gradients alone, and memory for one copy of them in place of many
            # (on a larger TPU slice one along its shortest dimension: `sharding.mesh.data_parts`)
            "shard_over_data": False,
            # An update changes nothing where loss, gradient norm or its own norm over the learning
            # rate is more than so many times its median of the last 64 updates, or is not finite;
            # 0: only where it is not finite
            "spike_factor": 20.0,
        }
    )


def training() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "num_steps": 100_000,
            "accumulation_steps": 1,  # micro-batches a step; changes memory, not the result
            "log_every": 50,  # steps
            "save_every": 1000,  # steps
            "eval_every": 0,  # steps; 0: never during training
            # comma-separated tasks of eval.py that are then measured on the first 256 examples of
            # the validation split of the first source's dataset, where these and the network allow
            "eval_tasks": "retrieval",
            # TASK/FIGURE of those, such as retrieval/text_to_video_R1: the step where it is best
            # is saved, and kept whatever its age, as WORKDIR@best; "" keeps none
            "best_metric": "",
            "best_is_highest": True,  # False: the lowest is best, as of a median rank
            "keep_checkpoints": 3,  # newest ones
            # After so many skipped updates in a row the run goes back to the newest verified
            # checkpoint before them, and leaves out the batches that they were of
            "max_skipped_updates": 20,
            "max_rollbacks": 5,  # of a run; beyond it ends with an error
            # without a step, or a batch to take it on, after which a run that hangs says where and
            # ends, to be started again; compilations, saves and batches of evaluations have an hour
            # at least. 0: never
            "step_timeout_seconds": 1800.0,
            "profile_first_step": 0,  # of a trace in WORKDIR/profile; 0: none
            "profile_steps": 5,
            "profile_memory_step": 0,  # before which device memory is written there; 0: never
            # Weights & Biases too has the figures, where a project is named; needs the extra wandb
            "wandb_project": "",
        }
    )
