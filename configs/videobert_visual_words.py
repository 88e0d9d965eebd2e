"""VideoBERT's recipe (Sun et al. 2019, arXiv 1904.01766) on two towers, over visual words.

Begin with BERT-large: --config.init.bert=DIR. The dataset is the reader's, its words are of
`videobert fit-visual-words` (docs/visual_words.md). What differs from the paper:

* Two towers and a cross-modal encoder in the place of one BERT over text and visual words; the
  video tower reads clip features, and visual words are only told.
* Words and clips are hidden in text-video examples too, beside the alignment; there the paper has
  the alignment alone. Mismatched pairs are made of the pairs of a batch.
* A cosine in the place of the linear decay, 1,000 steps of warm-up, AdamW's decay of 0.01.
* Shares and weights that the paper does not state are ours, and marked so.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.name = "videobert_visual_words"
    # Section 3.3: text-only, video-only and text-video, summed with weights; the weights are ours.
    config.data.sources = ml_collections.ConfigDict(
        {
            "text_video": base.source(),
            "text": base.source(regime="text_only"),
            "video": base.source(regime="video_only"),
        }
    )
    config.data.visual_words = "runs/words.safetensors"
    config.data.block_size = 128  # section 4.3: the batch
    config.data.text_length = 64  # two sentences
    config.data.video_length = 32  # at 1.5 s a clip 48 s, or 16 clips of a run without text
    config.data.vocabulary_size = 30_592  # BERT's, padded, where none is given
    config.data.drawing.joined_examples = 0.5  # section 3.3: "randomly"; the share is ours
    config.data.drawing.highest_rate = 5  # section 3.3: a rate of 1 to 5 is picked at random
    config.data.drawing.run_clips = 16  # section 4.1: segments where there is no speech
    config.data.masking.video_mean_span = 1.0  # section 3.2: as words are hidden, each by itself
    config.model.masked_video_head = "visual_words"  # section 4.2: 12 branches, 4 levels
    config.model.embed_dim = 1024  # section 4.3: BERT-large, and so
    config.model.num_heads = 16
    config.model.feed_forward_dim = 4096
    config.model.norm = "post"
    config.model.norm_epsilon = 1e-12
    config.model.text.num_layers = 24
    config.model.remat = "dots"  # 24 layers at 1,024 wide on 16 GB devices
    config.objectives.contrastive.weight = 0.0  # section 3.3: alignment is a classification
    config.optimizer.learning_rate = 1e-5  # section 4.3, as is the number of steps
    config.training.num_steps = 500_000
    return config
