"""VideoBERT: a text tower and a video tower, fused by a cross-modal encoder, with its heads.

After Sun et al. 2019 (arXiv 1904.01766); two towers and cross-attention instead of one BERT over
text and visual words. A decoder over the fused sides writes captions, as in UniVL (Luo et al. 2020,
arXiv 2002.06353). Every method takes rows `[b, ...]`; padding has segment id 0.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from videobert_jax import schema
from videobert_jax.models import clip_heads, heads
from videobert_jax.models.attention import allowed_in
from videobert_jax.models.config import FEATURES, ModelConfig
from videobert_jax.models.decoder import Decoder
from videobert_jax.models.embeddings import TextEmbedding, VideoEmbedding
from videobert_jax.models.encoder import CrossEncoder, Encoder
from videobert_jax.models.extra_heads import ExtraHeads
from videobert_jax.models.frozen_bert import BertEmbedding


class VideoBert(nn.Module):
    """The whole network. Dropout is active where `apply` is given a "dropout" key."""

    config: ModelConfig

    def setup(self) -> None:
        config = self.config
        reads_bert = config.text.input == "bert_vectors"
        self.text_embedding = BertEmbedding(config) if reads_bert else TextEmbedding(config)
        self.text_encoder = Encoder(config, config.text.num_layers)
        self.video_embedding = VideoEmbedding(config)
        self.video_encoder = Encoder(config, config.video.num_layers)
        self.cross_encoder = CrossEncoder(config)
        self.masked_language_head = heads.PieceHead(config)
        self.masked_video_head = clip_heads.HEADS[config.masked_video_head](config)
        self.pooler = heads.Pooler(config)
        self.matching_head = heads.MatchingHead()
        self.joint_head = heads.JointHead(config)
        if config.bag_of_words_head:
            self.bag_of_words_head = heads.BagOfWordsHead(config, config.text.vocabulary_size)
        if config.token_head:
            self.token_head = heads.TokenHead(config)
        if config.answers:
            self.answer_head = heads.AnswerHead(config)
        if config.clip_labels:
            self.clip_label_head = heads.ClipLabelHead(config)
        if config.decoder.num_layers:
            self.decoder = Decoder(config)
        if config.extra_heads:
            self.extra_heads = ExtraHeads(config)

    def encode_text(
        self, ids: Int[Array, "b t"], segment_ids: Int[Array, "b t"], positions: Int[Array, "b t"]
    ) -> Float[Array, "b t d"]:
        """Text tower's outputs."""
        allowed = allowed_in(self.config, segment_ids, segment_ids)
        context = (allowed,) if self.config.text.input == "bert_vectors" else ()
        return self.text_encoder(self.text_embedding(ids, positions, *context), allowed)

    def encode_video(
        self,
        features: Float[Array, "b v c"],
        segment_ids: Int[Array, "b v"],
        positions: Int[Array, "b v"],
        masked: Bool[Array, "b v"],
    ) -> Float[Array, "b v d"]:
        """Video tower's outputs; `masked` clips are hidden from it."""
        allowed = allowed_in(self.config, segment_ids, segment_ids)
        embedded = self.video_embedding(features, segment_ids, positions, masked)
        return self.video_encoder(embedded, allowed)

    def text_embeddings(
        self, encoded: Float[Array, "b t d"], segment_ids: Int[Array, "b t"], num_examples: int
    ) -> Float[Array, "b e j"]:
        """Examples' text in the joint space, of norm 1; 0 where an example has none."""
        return heads.unit_norm(
            self.joint_head.text(heads.example_means(encoded, segment_ids, num_examples)).astype(
                "float32"
            )
        )

    def video_embeddings(
        self, encoded: Float[Array, "b v d"], segment_ids: Int[Array, "b v"], num_examples: int
    ) -> Float[Array, "b e j"]:
        """Examples' video in the joint space, of norm 1; 0 where an example has none."""
        return heads.unit_norm(
            self.joint_head.video(heads.example_means(encoded, segment_ids, num_examples)).astype(
                "float32"
            )
        )

    def piece_presence(
        self,
        encoded: Float[Array, "b v d"],
        features: Float[Array, "b v c"],
        segment_ids: Int[Array, "b v"],
        masked: Bool[Array, "b v"],
        num_examples: int,
    ) -> Float[Array, "b e w"]:
        """How likely each example's caption has each piece, float32; near 0 to 1, not held there.

        Of the video tower's outputs, or of the features that are not `masked`, as
        `config.bag_of_words_reads` says. Needs `config.bag_of_words_head`.
        """
        if self.config.bag_of_words_reads == FEATURES:
            encoded = self.video_embedding.normalize(features)
            segment_ids = jnp.where(masked, schema.NO_SEGMENT, segment_ids)
        return self.bag_of_words_head(heads.example_means(encoded, segment_ids, num_examples))

    def token_embeddings(
        self, text: Float[Array, "b t d"], video: Float[Array, "b v d"]
    ) -> tuple[Float[Array, "b t j"], Float[Array, "b v j"]]:
        """(pieces, clips) of the towers' outputs in a space of their own, of norm 1.

        Needs `config.token_head`.
        """
        return self.token_head(text, video)

    def contrastive_scale(self) -> Float[Array, ""]:
        """Factor of cosine similarities, learnt, 100 at most (Radford et al. 2021)."""
        return self.joint_head.scale()

    def fuse(
        self,
        text: Float[Array, "b t d"],
        text_segment_ids: Int[Array, "b t"],
        video: Float[Array, "b v d"],
        video_segment_ids: Int[Array, "b v"],
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b v d"]]:
        """(fused text, fused video) of the towers' outputs; examples meet by segment id."""
        allowed = (
            allowed_in(self.config, text_segment_ids, video_segment_ids),
            allowed_in(self.config, text_segment_ids, text_segment_ids),
            allowed_in(self.config, video_segment_ids, video_segment_ids),
        )
        return self.cross_encoder(text, video, allowed)

    def piece_logits(self, values: Float[Array, "b m d"]) -> Float[Array, "b m w"]:
        """Logits over pieces, float32, of fused text gathered at slots."""
        return self.masked_language_head(values, self.text_embedding.table)

    def video_predictions(self, values: Float[Array, "b m d"]) -> Float[Array, "b m o"]:
        """What is told of hidden clips, of fused video gathered at slots: points of the joint space
        of norm 1, cosines with every visual word, or features (`config.masked_video_head`)."""
        return self.masked_video_head.predictions(values)

    def video_targets(self, features: Float[Array, "b v c"]) -> Shaped[Array, "b v *o"]:
        """What `video_predictions` should give of these uncorrupted clip features: points of the
        joint space of norm 1, int32 ids of visual words, or the features as they are read."""
        if self.config.masked_video_head == "visual_words":
            return self.masked_video_head.targets(features)
        return self.masked_video_head.targets(self.video_embedding.normalize(features))

    def pool(
        self,
        fused_text: Float[Array, "b t d"],
        text_segment_ids: Int[Array, "b t"],
        fused_video: Float[Array, "b v d"],
        video_segment_ids: Int[Array, "b v"],
        num_examples: int,
    ) -> Float[Array, "b e d"]:
        """One vector an example of the fused sides."""
        return self.pooler(
            fused_text, text_segment_ids, fused_video, video_segment_ids, num_examples
        )

    def matching_logits(self, pooled: Float[Array, "b e d"]) -> Float[Array, "b e"]:
        """Logits that text and video of an example belong together."""
        return self.matching_head(pooled)

    def answer_logits(self, pooled: Float[Array, "b e d"]) -> Float[Array, "b e w"]:
        """Logits over the answers, float32, padded as `config.padded_answers`.

        Needs `config.answers`.
        """
        return self.answer_head(pooled)

    def clip_label_logits(self, video: Float[Array, "b v d"]) -> Float[Array, "b v w"]:
        """Logits over the labels of clips, float32, padded as `config.padded_clip_labels`, of the
        video tower's outputs. Needs `config.clip_labels`.
        """
        return self.clip_label_head(video)

    def extra_head(self, path: str, *inputs: Any) -> Any:
        """What the head at a dotted path of `config.extra_heads` gives for inputs of its own."""
        return self.extra_heads(path, *inputs)

    def decode(
        self,
        ids: Int[Array, "b u"],
        segment_ids: Int[Array, "b u"],
        positions: Int[Array, "b u"],
        fused_text: Float[Array, "b t d"],
        text_segment_ids: Int[Array, "b t"],
        fused_video: Float[Array, "b v d"],
        video_segment_ids: Int[Array, "b v"],
    ) -> Float[Array, "b u d"]:
        """Decoder's outputs at pieces of captions, from which `caption_logits` tells the next ones.

        An example reads its own earlier pieces and its own fused sides. Needs
        `config.decoder.num_layers`.
        """
        memory = jnp.concatenate([fused_text, fused_video], axis=1)
        memory_segment_ids = jnp.concatenate([text_segment_ids, video_segment_ids], axis=1)
        embedded = self.embed_written(ids, positions)
        return self.decoder(embedded, segment_ids, memory, memory_segment_ids)

    def embed_written(
        self, ids: Int[Array, "b u"], positions: Int[Array, "b u"]
    ) -> Float[Array, "b u d"]:
        """Pieces of captions as the decoder reads them."""
        return self._decoder_embedding(ids, positions)

    @property
    def _decoder_embedding(self) -> TextEmbedding:
        """The text tower's; where that has vectors of whole texts, the decoder's own."""
        tied = self.config.text.input == "pieces"
        return cast(TextEmbedding, self.text_embedding) if tied else self.decoder.embedding

    def caption_logits(self, decoded: Float[Array, "b u d"]) -> Float[Array, "b u w"]:
        """Logits over the next pieces, float32, of the decoder's outputs."""
        return self.decoder.piece_logits(decoded, self._decoder_embedding.table)

    def __call__(self, block: schema.Batch) -> jax.Array:
        """Runs every part once on one block `[r, ...]`, for `init`; gives the matching logits."""
        num_examples = block.example_ids.shape[-1]
        text = self.encode_text(block.text_ids, block.text_segment_ids, block.text_positions)
        video = self.encode_video(
            block.video_features, block.video_segment_ids, block.video_positions, block.video_masked
        )
        self.text_embeddings(text, block.text_segment_ids, num_examples)
        self.video_embeddings(video, block.video_segment_ids, num_examples)
        self.contrastive_scale()
        if self.config.token_head:
            self.token_embeddings(text, video)
        if self.config.bag_of_words_head:
            clips = (block.video_features, block.video_segment_ids, block.video_masked)
            self.piece_presence(video, *clips, num_examples)
        fused_text, fused_video = self.fuse(
            text, block.text_segment_ids, video, block.video_segment_ids
        )
        self.piece_logits(heads.gather_slots(fused_text, block.text_slots))
        self.video_predictions(heads.gather_slots(fused_video, block.video_slots))
        self.video_targets(block.video_features)
        fused = (fused_text, block.text_segment_ids, fused_video, block.video_segment_ids)
        if self.config.decoder.num_layers:
            targets = (block.target_ids, block.target_segment_ids, block.target_positions)
            self.caption_logits(self.decode(*targets, *fused))
        pooled = self.pool(*fused, num_examples)
        if self.config.answers:
            self.answer_logits(pooled)
        if self.config.clip_labels:
            self.clip_label_logits(video)
        for path in self.config.extra_heads:
            self.extra_head(path, text, video)
        return self.matching_logits(pooled)
