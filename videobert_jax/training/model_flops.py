"""FLOPs that a step's real tokens need: what mfu divides by what the hardware could do.

Every token is multiplied with the parameters it goes through, and every query with the keys it may
attend to: 2 FLOPs a parameter forward, as many again for the gradient of the parameter, and as many
for that of the token (6 N of Kaplan et al. 2020, section 2.1; PaLM, Chowdhery et al. 2022, appendix
B, adds attention). Padding, pairs of different examples, recomputation, and whatever else a program
does for its own sake count nothing; so do lookups in tables, norms, biases, and the similarities
that losses compare. What is frozen has no gradient, and clip features have none.

A mismatched pass of the cross-modal encoder counts as the matched one: it meets the same tokens.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from videobert_jax import schema
from videobert_jax.models.config import TOWER, ModelConfig
from videobert_jax.objectives.config import ObjectivesConfig

_TEXT = frozenset({"text_embedding", "text_encoder"})
_VIDEO = frozenset({"video_embedding", "video_encoder"})
_TOWERS = _TEXT | _VIDEO
_FUSED = _TOWERS | {"cross_encoder"}
CONSTANT = ""  # owner of parameters that never learn


class Counts(NamedTuple):
    """What a batch really holds. Numbers, or float32 scalars under `jit`."""

    text: Any  # tokens: pieces
    video: Any  # clips
    target: Any  # pieces of captions to write
    text_pairs: Any  # of one example: piece and piece
    video_pairs: Any  # clip and clip
    cross_pairs: Any  # piece and clip
    target_pairs: Any  # of captions: a piece with itself and with every earlier one
    target_text_pairs: Any
    target_video_pairs: Any
    text_slots: Any  # pieces to be told
    video_slots: Any  # clips to be told
    texts: Any  # examples with text
    videos: Any  # examples with clips
    examples: Any


class Term(NamedTuple):
    """Products of one kind in one part of the network.

    owner: module whose parameters they are with. inputs: modules through which the other factor
    came. attention: both factors are activations, the owner's own.
    """

    part: str
    owner: str
    inputs: frozenset[str]
    forward: Any  # FLOPs
    attention: bool = False

    def training(self, frozen: Collection[str]) -> Any:
        """FLOPs forward and backward, where the modules `frozen` do not learn."""
        learns = self.owner not in {CONSTANT, *frozen}
        passes_on = bool(self.inputs - set(frozen))
        if self.attention:
            return self.forward * (3 if learns or passes_on else 1)
        return self.forward * (1 + learns + passes_on)


def step_flops(
    model: ModelConfig,
    objectives: ObjectivesConfig,
    frozen: Collection[str],
    counts: Counts,
) -> Any:
    """Model FLOPs of one training step on a batch with these counts."""
    return sum(term.training(frozen) for term in terms(model, objectives, counts))


def work(
    counts: Counts, model: ModelConfig, objectives: ObjectivesConfig, frozen: Collection[str]
) -> dict[str, Any]:
    """Figures of a step, float32: what its batch really holds, and what a step on it needs."""
    needed = step_flops(model, objectives, frozen, counts)
    return {
        "tokens": counts.text + counts.video + counts.target,
        "model_flops": jnp.asarray(needed, jnp.float32),
    }


def modules(model: ModelConfig, objectives: ObjectivesConfig) -> set[str]:
    """Top-level modules with parameters that the objectives use."""
    nothing = Counts(*(0.0,) * len(Counts._fields))
    owners = {term.owner for term in terms(model, objectives, nothing)}
    return owners - {CONSTANT} | {"text_embedding"}  # a table, with which nothing is multiplied


def count(batch: schema.Batch) -> Counts:
    """Counts of a batch `[..., r, ...]`, NumPy's or jax's."""
    number = np.arange(1, batch.example_ids.shape[-1] + 1)

    def lengths(segment_ids: Any) -> Any:  # [..., r, n] -> of the examples [..., r, e]
        numbers = number.reshape((1,) * segment_ids.ndim + (-1,))
        return (segment_ids[..., None] == numbers).sum(-2).astype("float32")

    text, video = lengths(batch.text_segment_ids), lengths(batch.video_segment_ids)
    target = lengths(batch.target_segment_ids)
    return Counts(
        text=text.sum(),
        video=video.sum(),
        target=target.sum(),
        text_pairs=(text * text).sum(),
        video_pairs=(video * video).sum(),
        cross_pairs=(text * video).sum(),
        target_pairs=(target * (target + 1)).sum() / 2,
        target_text_pairs=(target * text).sum(),
        target_video_pairs=(target * video).sum(),
        text_slots=(batch.text_slot_weights > 0).sum(),
        video_slots=(batch.video_slot_weights > 0).sum(),
        texts=(text > 0).sum(),
        videos=(video > 0).sum(),
        examples=(batch.example_ids != schema.PADDING_EXAMPLE).sum(),
    )


def terms(model: ModelConfig, objectives: ObjectivesConfig, counts: Counts) -> list[Term]:
    """All products of a forward pass that an objective asks for."""
    weights = objectives.weights()
    active = {name for name, weight in weights.items() if weight > 0}
    found = _towers(model, counts)
    hard = "matching" in active and objectives.matching.negatives == "hard"
    if active & {"contrastive", "cascade"} or hard:
        found += _joint_head(model, counts)
    if "bag_of_words" in active:
        reads_tower = model.bag_of_words_reads == TOWER
        width = model.embed_dim if reads_tower else model.video.feature_dim
        size, inputs = width * model.text.vocabulary_size, _VIDEO if reads_tower else frozenset()
        found.append(_product("heads", "bag_of_words_head", inputs, size * counts.videos))
    if "segmentation" in active:
        size = model.embed_dim * (model.clip_labels + 1)
        found.append(_product("heads", "clip_label_head", _VIDEO, size * counts.video))
    if "token_contrastive" in active:
        size = model.embed_dim * model.joint_dim
        found.append(_product("heads", "token_head", _TEXT, size * counts.text))
        found.append(_product("heads", "token_head", _VIDEO, size * counts.video))
    if "captioning" in active:
        found += _captioning(model, counts, objectives.captioning.inputs)
    judged = objectives.mismatches
    fused = active & {"masked_language", "masked_video", "matching", "cascade", "answering"}
    if fused or ("captioning" in active and objectives.captioning.inputs == "both"):
        found += (1 + judged) * _fused(model, counts)
    if judged:
        found += (1 + judged) * _matching(model, counts)
    if "answering" in active:
        found += _answering(model, counts, pooled=judged > 0)
    if "masked_language" in active:
        inputs, slots = _FUSED, counts.text_slots
        found += _piece_head(model, "masked_language_head", "text_embedding", inputs, slots)
    if "masked_video" in active:
        found += _masked_video_head(model, counts)
    return found


def _product(part: str, owner: str, inputs: frozenset[str], products: Any) -> Term:
    """Of multiplications of a parameter and an activation."""
    return Term(part, owner, inputs, 2.0 * products)


def _attention(part: str, owner: str, inputs: frozenset[str], dim: int, pairs: Any) -> Term:
    """Scores, and values weighed by them: `dim` multiplications a pair each."""
    return Term(part, owner, inputs, 2 * 2.0 * dim * pairs, attention=True)


def _layer(dim: int, feed_forward_dim: int) -> int:
    """Parameters of a layer's projections: query, key, value, output, and feed-forward."""
    return 4 * dim * dim + 2 * dim * feed_forward_dim


def _towers(model: ModelConfig, counts: Counts) -> list[Term]:
    dim, layer = model.embed_dim, _layer(model.embed_dim, model.feed_forward_dim)
    found = [
        _product(
            "video tower",
            "video_embedding",
            frozenset(),
            model.video.feature_dim * dim * counts.video,
        )
    ]
    for side, embedding, layers, tokens, pairs in (
        ("text", "text_embedding", model.text.num_layers, counts.text, counts.text_pairs),
        ("video", "video_embedding", model.video.num_layers, counts.video, counts.video_pairs),
    ):
        part, owner, inputs = f"{side} tower", f"{side}_encoder", frozenset({embedding})
        found.append(_product(part, owner, inputs, layers * layer * tokens))
        found.append(_attention(part, owner, inputs, layers * dim, pairs))
    return found + (_frozen_bert(model, counts) if model.text.input == "bert_vectors" else [])


def _frozen_bert(model: ModelConfig, counts: Counts) -> list[Term]:
    """A BERT that is a constant of the network, and the projection of its hidden states."""
    bert, part, nothing = model.text.bert, "text tower", frozenset()
    size = bert.num_layers * _layer(bert.embed_dim, bert.feed_forward_dim)
    width = bert.num_layers * bert.embed_dim
    projection = bert.embed_dim * model.embed_dim
    return [
        _product(part, CONSTANT, nothing, size * counts.text),
        _attention(part, CONSTANT, nothing, width, counts.text_pairs),
        _product(part, "text_embedding", nothing, projection * counts.text),
    ]


def _fused(model: ModelConfig, counts: Counts) -> list[Term]:
    """One pass of the cross-modal encoder: a token is query and output of its own direction, key
    and value of the other, and then goes through a layer of its own side."""
    dim, layers = model.embed_dim, model.cross.num_layers
    size = layers * (4 * dim * dim + _layer(dim, model.feed_forward_dim))
    pairs = 2 * counts.cross_pairs + counts.text_pairs + counts.video_pairs
    part, owner = "cross-modal encoder", "cross_encoder"
    return [
        _product(part, owner, _TOWERS, size * (counts.text + counts.video)),
        _attention(part, owner, _TOWERS, layers * dim, pairs),
    ]


def _joint_head(model: ModelConfig, counts: Counts) -> list[Term]:
    size = model.embed_dim * model.joint_dim
    return [
        _product("heads", "joint_head", _TEXT, size * counts.texts),
        _product("heads", "joint_head", _VIDEO, size * counts.videos),
    ]


def _matching(model: ModelConfig, counts: Counts) -> list[Term]:
    dim, examples = model.embed_dim, counts.examples
    return [
        _product("heads", "pooler", _FUSED, 2 * dim * dim * examples),
        _product("heads", "matching_head", _FUSED | {"pooler"}, dim * examples),
    ]


def _answering(model: ModelConfig, counts: Counts, *, pooled: bool) -> list[Term]:
    """Its head, and the pooler where matching has not run it on the same pairs."""
    dim, width, examples = model.embed_dim, 2 * model.embed_dim, counts.examples
    size = dim * width + width * model.answers
    head = _product("heads", "answer_head", _FUSED | {"pooler"}, size * examples)
    own_pooler = _product("heads", "pooler", _FUSED, 2 * dim * dim * examples)
    return [head] if pooled else [own_pooler, head]


def _piece_head(
    model: ModelConfig, head: str, table: str, inputs: frozenset[str], tokens: Any
) -> list[Term]:
    """A layer, and a product with the embeddings of pieces, which are those of module `table`."""
    dim, width = model.embed_dim, model.embed_dim
    if model.text.input == "bert_vectors" and head == "masked_language_head":
        table, width = CONSTANT, model.text.bert.embed_dim
    size = width * model.text.vocabulary_size
    return [
        _product("heads", head, inputs, dim * width * tokens),
        _product("heads", table, inputs | {head}, size * tokens),
    ]


def _masked_video_head(model: ModelConfig, counts: Counts) -> list[Term]:
    dim, features, slots = model.embed_dim, model.video.feature_dim, counts.video_slots
    owner, words = "masked_video_head", model.visual_words
    told = {
        "nce": dim * model.joint_dim,
        "regression": dim * features,
        "visual_words": dim * features + features * words.branching**words.depth,
    }
    size = dim * dim + told[model.masked_video_head]
    found = [_product("heads", owner, _FUSED, size * slots)]
    if model.masked_video_head == "nce":  # what is told is among all clips, brought there too
        size = features * model.joint_dim
        found.append(_product("heads", owner, frozenset(), size * counts.video))
    return found


def _captioning(model: ModelConfig, counts: Counts, reads: str) -> list[Term]:
    """The decoder, its head, and the pass of the cross-modal encoder that it alone reads."""
    dim, layers = model.embed_dim, model.decoder.num_layers
    inner = model.feed_forward_dim
    text = counts.text if reads != "video" else 0
    video = counts.video if reads != "transcript" else 0
    pairs = counts.target_pairs
    pairs += counts.target_text_pairs if reads != "video" else 0
    pairs += counts.target_video_pairs if reads != "transcript" else 0
    own = 4 * dim * dim + 2 * dim * dim + 2 * dim * inner  # query and output of what it reads
    table = "text_embedding" if model.text.input == "pieces" else "decoder"
    inputs = _FUSED | {"decoder"}
    found = [
        _product("decoder", "decoder", inputs, layers * own * counts.target),
        _product("decoder", "decoder", _FUSED, layers * 2 * dim * dim * (text + video)),
        _attention("decoder", "decoder", inputs, layers * dim, pairs),
        *_piece_head(model, "decoder", table, inputs, counts.target),
    ]
    if reads != "both":  # a side without the other: nothing is read across
        side = counts.text_pairs if reads == "transcript" else counts.video_pairs
        size = model.cross.num_layers * _layer(dim, inner)
        width = model.cross.num_layers * dim
        part, owner = "cross-modal encoder", "cross_encoder"
        found.append(_product(part, owner, _TOWERS, size * (text + video)))
        found.append(_attention(part, owner, _TOWERS, width, side))
    return found
