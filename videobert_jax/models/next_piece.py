"""The next piece of captions that are being written: its logits, and the rules that they obey.

Logits come from the decoder with a key and value cache. k beginnings of a caption stand side by
side, and the cache keeps what was written where it was written: a beginning that goes on from
another one's place reads that place's past, as `lineage` says, and nothing is moved.

Letters: b rows, k beginnings, u places, w pieces, m places of the memory.
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

NOTHING = -1e9  # log-probability of what must not be; finite, so that sums stay ordered


@dataclasses.dataclass(frozen=True, kw_only=True)
class WritingRules:
    """What captions may be, however they are found.

    max_pieces: of a caption, [SEP] counted. num_pieces: of the tokenizer; the network may have
    more. no_repeat_ngram: so many pieces in a row come once in a caption; 0, any number of times.
    repetition_penalty: what the logits of pieces that a caption has already are divided by, or
    multiplied with where they are negative; CTRL (Keskar et al. 2019, arXiv:1909.05858), section
    4.1; 1, none. Raises ValueError.
    """

    max_pieces: int
    num_pieces: int
    no_repeat_ngram: int
    repetition_penalty: float

    def __post_init__(self) -> None:
        if self.max_pieces < 1 or self.num_pieces <= len(schema.SPECIAL_PIECES):
            raise ValueError(
                f"max_pieces={self.max_pieces} and num_pieces={self.num_pieces}; expected 1 or "
                f"more, and more than the {len(schema.SPECIAL_PIECES)} special ones."
            )
        if self.no_repeat_ngram < 0 or self.repetition_penalty < 1:
            raise ValueError(
                f"no_repeat_ngram={self.no_repeat_ngram} and repetition_penalty="
                f"{self.repetition_penalty}; expected 0 or more, and 1 (none) or more."
            )


class Written(NamedTuple):
    """Beginnings of captions.

    length: pieces of each. ids [b, k, u]: 0 behind them. lineage [b, k, u]: beside which of the k
    each piece of a beginning was written. past: a layer's keys and values [b, u k, n, h], places
    of the k side by side.
    """

    length: Int[Array, ""]
    ids: Int[Array, "b k u"]
    lineage: Int[Array, "b k u"]
    past: tuple[KeyValue, ...]


class CachedDecoder:
    """The decoder over a memory that is projected once; pure, to be used inside a program."""

    def __init__(
        self,
        model: VideoBert,
        variables: Any,
        memory: Float[Array, "b m d"],
        of_memory: Bool[Array, " b m"],
    ):
        self._model, self._variables = model, variables
        self._layer, self._of_memory = DecoderLayer(model.config), of_memory
        stacked = variables["params"]["decoder"]["stack"]["layers"]["layer"]
        # Apart, once: a scan would copy a layer's parameters at every piece.
        self._params = [
            jax.tree.map(lambda leaf, number=number: leaf[number], stacked)
            for number in range(model.config.decoder.num_layers)
        ]
        self._memory = [
            self._layer.apply({"params": params}, memory, method="project_memory")
            for params in self._params
        ]

    def nothing(self, beginnings: int, places: int) -> Written:
        """`beginnings` empty beginnings a row, with room for `places` pieces."""
        config, rows = self._model.config, len(self._of_memory)
        ids = jnp.zeros((rows, beginnings, places), jnp.int32)
        shape = (rows, places * beginnings, config.num_heads, config.head_dim)
        empty = jnp.zeros(shape, jnp.dtype(config.compute_dtype))
        past = tuple(KeyValue(empty, empty) for _ in self._params)
        return Written(jnp.zeros((), jnp.int32), ids, ids, past)

    def logits(self, written: Written) -> tuple[Float[Array, "b k w"], Written]:
        """Logits of the piece behind each beginning, float32, and these with the past grown."""
        length, (rows, beginnings, places) = written.length, written.ids.shape
        last = written.ids[:, :, jnp.maximum(length - 1, 0)]
        last = jnp.where(length == 0, BEGIN, last)
        positions = jnp.full_like(last, length)
        values: Any = self._model.apply(self._variables, last, positions, method="embed_written")
        beside = jnp.arange(beginnings)
        lineage = written.lineage.at[:, :, length].set(beside)
        own = lineage[..., None] == beside[None, None, None]
        own &= (jnp.arange(places) <= length)[None, None, :, None]
        own = own.reshape(rows, beginnings, places * beginnings)
        of_memory = jnp.broadcast_to(
            self._of_memory[:, None], (rows, beginnings, self._of_memory.shape[1])
        )
        past = []
        for params, memory, earlier in zip(self._params, self._memory, written.past, strict=True):
            inputs = (values, earlier, length, own, memory, of_memory)
            values, grown = self._layer.apply({"params": params}, *inputs, method="write")
            past.append(grown)
        logits: Any = self._model.apply(self._variables, values, method="caption_logits")
        return logits, written._replace(lineage=lineage, past=tuple(past))


def with_repetition_penalty(
    logits: Float[Array, "b k w"], written: Written, rules: WritingRules
) -> Float[Array, "b k w"]:
    """Logits, those of pieces that a beginning has already lowered."""
    penalty = rules.repetition_penalty
    if penalty == 1.0:
        return logits
    num_pieces = logits.shape[-1]
    there = (jnp.arange(rules.max_pieces) < written.length)[None, None]
    seen = _marked(jnp.where(there, written.ids, num_pieces), num_pieces)
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def allowed(written: Written, rules: WritingRules, num_pieces: int) -> Bool[Array, "#b #k w"]:
    """Which of `num_pieces` pieces may follow each beginning."""
    pieces = jnp.arange(num_pieces)
    found = (pieces >= len(schema.SPECIAL_PIECES)) & (pieces < rules.num_pieces)
    found = (found | (pieces == END))[None, None]
    if 0 < rules.no_repeat_ngram <= rules.max_pieces:
        found &= ~_repeated(written, rules.no_repeat_ngram, num_pieces)
    return found


def _repeated(written: Written, ngram: int, num_pieces: int) -> Bool[Array, "b k w"]:
    """Pieces that would end a run of `ngram` pieces which a beginning has already."""
    ids, length = written.ids, written.length
    starts = jnp.arange(ids.shape[-1] - ngram + 1)
    runs = ids[:, :, starts[:, None] + jnp.arange(ngram)[None]]  # [b, k, s, ngram]
    last = jax.lax.dynamic_slice_in_dim(ids, length - (ngram - 1), ngram - 1, axis=2)
    same = (runs[..., :-1] == last[:, :, None]).all(-1) & (starts + ngram <= length)[None, None]
    return _marked(jnp.where(same, runs[..., -1], num_pieces), num_pieces)


def _marked(pieces: Int[Array, "b k s"], num_pieces: int) -> Bool[Array, "b k w"]:
    """Which of `num_pieces` pieces are among those given; others than these are dropped."""
    rows, beginnings, _ = pieces.shape
    row, beside = jnp.arange(rows)[:, None, None], jnp.arange(beginnings)[None, :, None]
    found = jnp.zeros((rows, beginnings, num_pieces), bool)
    return found.at[row, beside, pieces].set(True, mode="drop")
