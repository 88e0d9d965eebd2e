"""Captions written by a trained decoder: beam search with a key and value cache.

A beam of k beginnings grows by a piece a step. One that [SEP] ends, among the k best continuations,
is kept apart, and others grow on in its place; a row is done when k are kept. So one beam is
greedy search. Captions are compared by their log-probability over the length penalty of Wu et al.
2016 (arXiv:1609.08144), section 7, equation 14. Shapes are fixed: one program a shape and setting.

Letters: b rows, k beams, u places, w pieces, m places of the memory, l layers.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from videobert_jax import schema
from videobert_jax.models.attention import KeyValue
from videobert_jax.models.decoder import BEGIN, END, DecoderLayer
from videobert_jax.models.videobert import VideoBert

_NOTHING = -1e9  # log-probability of what must not be; finite, so that sums stay ordered


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """How captions are searched.

    beams: 1 is greedy. max_pieces: of a caption, [SEP] counted. num_pieces: of the tokenizer; the
    network may have more. length_penalty: 0 compares log-probabilities as they are, more favours
    longer captions. no_repeat_ngram: so many pieces in a row come once in a caption; 0, any number
    of times. Raises ValueError.
    """

    beams: int
    max_pieces: int
    num_pieces: int
    length_penalty: float
    no_repeat_ngram: int

    def __post_init__(self) -> None:
        if self.beams < 1 or self.max_pieces < 1:
            raise ValueError(
                f"beams={self.beams} and max_pieces={self.max_pieces}; expected 1 or more of both."
            )
        if self.num_pieces < len(schema.SPECIAL_PIECES) + self.beams:
            raise ValueError(f"beams={self.beams}: more than the {self.num_pieces} pieces allow.")
        if self.length_penalty < 0 or self.no_repeat_ngram < 0:
            raise ValueError(
                f"length_penalty={self.length_penalty} and no_repeat_ngram="
                f"{self.no_repeat_ngram}; expected 0 or more of both."
            )


class Written(NamedTuple):
    """Captions of every row, best first; those that found no end in max_pieces come last.

    ids [b, k, u] int32: pieces, [SEP] where a caption ends, [PAD] behind it. scores [b, k] float32:
    log-probability over length penalty, below -1e8 where there are fewer.
    """

    ids: Any
    scores: Any


class _Search(NamedTuple):
    """`kept` captions have ended; `growing` ones have not, and are sorted by `sums`."""

    length: Int[Array, ""]
    growing: Int[Array, "b k u"]
    sums: Float[Array, "b k"]  # log-probabilities
    past: KeyValue  # [l, b k, u, n, h]
    kept: Int[Array, "b k u"]
    scores: Float[Array, "b k"]
    done: Bool[Array, " b"]


def write(
    model: VideoBert,
    variables: Any,
    fused_text: Float[Array, "b t d"],
    text_segment_ids: Int[Array, "b t"],
    fused_video: Float[Array, "b v d"],
    video_segment_ids: Int[Array, "b v"],
    settings: SearchSettings,
) -> Written:
    """Captions of the fused sides of examples, one a row; a row without any gets none."""
    memory = jnp.concatenate([fused_text, fused_video], axis=1)
    segment_ids = jnp.concatenate([text_segment_ids, video_segment_ids], axis=1)
    of_memory = (segment_ids != schema.NO_SEGMENT)[:, None]
    layers = variables["params"]["decoder"]["stack"]["layers"]["layer"]
    layer = DecoderLayer(model.config)

    def project(params: Any) -> Any:
        return layer.apply({"params": params}, memory, method="project_memory")

    projected = jax.lax.map(project, layers)

    def step(search: _Search) -> _Search:
        last = search.growing[:, :, jnp.maximum(search.length - 1, 0)]
        last = jnp.where(search.length == 0, BEGIN, last)
        embedded: Any = model.apply(
            variables, last, jnp.full_like(last, search.length), method="embed_written"
        )

        def through(values: Array, of_layer: Any) -> Any:
            params, past, projected = of_layer
            inputs = (values, past, search.length, projected, of_memory)
            return layer.apply({"params": params}, *inputs, method="write")

        outputs, past = jax.lax.scan(through, embedded, (layers, search.past, projected))
        logits: Any = model.apply(variables, outputs, method="caption_logits")
        return _grown(search._replace(past=past), jax.nn.log_softmax(logits), settings)

    def goes_on(search: _Search) -> Bool[Array, ""]:
        return (search.length < settings.max_pieces) & ~search.done.all()

    first = _beginning(model, of_memory, len(projected.key), settings)
    return _best(jax.lax.while_loop(goes_on, step, first), settings)


def _beginning(
    model: VideoBert, of_memory: Bool[Array, "b 1 m"], layers: int, settings: SearchSettings
) -> _Search:
    config, rows, beams = model.config, len(of_memory), settings.beams
    ids = jnp.zeros((rows, beams, settings.max_pieces), jnp.int32)
    places = (layers, rows * beams, settings.max_pieces, config.num_heads, config.head_dim)
    empty = jnp.zeros(places, jnp.dtype(config.compute_dtype))
    nothing = jnp.full((rows, beams), _NOTHING)
    return _Search(
        length=jnp.zeros((), jnp.int32),
        growing=ids,
        sums=nothing.at[:, 0].set(0.0),  # all beginnings are the same: one counts
        past=KeyValue(empty, empty),
        kept=ids,
        scores=nothing,
        done=~of_memory.any((1, 2)),
    )


def _grown(
    search: _Search, log_probabilities: Float[Array, "b k w"], settings: SearchSettings
) -> _Search:
    """The search with every beginning a piece longer."""
    rows, beams, num_pieces = log_probabilities.shape
    pieces = jnp.arange(num_pieces)
    allowed = (pieces >= len(schema.SPECIAL_PIECES)) & (pieces < settings.num_pieces)
    allowed = (allowed | (pieces == END))[None, None]
    if 0 < settings.no_repeat_ngram <= settings.max_pieces:
        allowed &= ~_repeated(search.growing, search.length, settings.no_repeat_ngram, num_pieces)
    sums = search.sums[:, :, None] + jnp.where(allowed, log_probabilities, _NOTHING)
    # At most k of the best 2 k end, so k of them grow on.
    sums, chosen = jax.lax.top_k(sums.reshape(rows, -1), 2 * beams)
    parents, pieces = chosen // num_pieces, chosen % num_pieces
    ids = jnp.take_along_axis(search.growing, parents[:, :, None], axis=1)
    ids = ids.at[:, :, search.length].set(pieces)
    length = search.length + 1

    ends = pieces == END
    scores = _scores(sums, length, settings)
    ended = jnp.where(ends[:, :beams] & ~search.done[:, None], scores[:, :beams], _NOTHING)
    all_scores = jnp.concatenate([search.scores, ended], axis=1)
    all_kept = jnp.concatenate([search.kept, ids[:, :beams]], axis=1)
    best, order = jax.lax.top_k(all_scores, beams)

    growing = jnp.argsort(ends, axis=1, stable=True)[:, :beams]
    rows_of_past = jnp.arange(rows)[:, None] * beams + jnp.take_along_axis(parents, growing, axis=1)
    return _Search(
        length=length,
        growing=jnp.take_along_axis(ids, growing[:, :, None], axis=1),
        sums=jnp.take_along_axis(sums, growing, axis=1),
        past=jax.tree.map(lambda past: past[:, rows_of_past.reshape(-1)], search.past),
        kept=jnp.take_along_axis(all_kept, order[:, :, None], axis=1),
        scores=best,
        done=search.done | (best[:, -1] > _NOTHING / 10),
    )


def _scores(
    sums: Float[Array, "b k"], length: Int[Array, ""], settings: SearchSettings
) -> Float[Array, "b k"]:
    """Log-probabilities over the length penalty, ((5 + length) / 6) to its power."""
    penalty = ((5.0 + length) / 6.0) ** settings.length_penalty
    return jnp.where(sums > _NOTHING / 10, sums / penalty, _NOTHING)


def _repeated(
    ids: Int[Array, "b k u"], length: Int[Array, ""], ngram: int, num_pieces: int
) -> Bool[Array, "b k w"]:
    """Pieces that would end a run of `ngram` pieces which stands among the first `length`."""
    rows, beams, places = ids.shape
    starts = jnp.arange(places - ngram + 1)
    runs = ids[:, :, starts[:, None] + jnp.arange(ngram)[None]]  # [b, k, s, ngram]
    last = jax.lax.dynamic_slice_in_dim(ids, length - (ngram - 1), ngram - 1, axis=2)
    same = (runs[..., :-1] == last[:, :, None]).all(-1) & (starts + ngram <= length)[None, None]
    ending = jnp.where(same, runs[..., -1], num_pieces)  # beyond the pieces: dropped
    row, beam = jnp.arange(rows)[:, None, None], jnp.arange(beams)[None, :, None]
    found = jnp.zeros((rows, beams, num_pieces), bool)
    return found.at[row, beam, ending].set(True, mode="drop")


def _best(search: _Search, settings: SearchSettings) -> Written:
    """The k best of kept and growing captions, those that have ended first."""
    unended = _scores(search.sums, search.length, settings)
    unended = jnp.where(search.done[:, None], _NOTHING, unended)
    scores = jnp.concatenate([search.scores, unended], axis=1)
    ids = jnp.concatenate([search.kept, search.growing], axis=1)
    ended = jnp.arange(scores.shape[1])[None] < settings.beams
    ended = ended & (scores > _NOTHING / 10)
    order = jnp.lexsort((-scores, ~ended), axis=1)[:, : settings.beams]
    return Written(
        jnp.take_along_axis(ids, order[:, :, None], axis=1),
        jnp.take_along_axis(scores, order, axis=1),
    )
