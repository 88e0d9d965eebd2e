"""Captions by beam search: ours, cached and not, against `generate` of Hugging Face.

    python -m benchmarks.generation [--json FILE]

Both write with a decoder of the same sizes and parameters (`benchmarks.torch_decoder`), of the
same memories, with the same number of beams and the same length: [SEP] is made unlikely, so that
no caption ends before. Both must write the same captions. `ratio` is of pieces a second of the
best beam, the median of alternating runs; the peer's cache is its own default. Without a cache
every step decodes the whole beginnings, a part of the rows a run.
"""

import argparse
import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import alternate
from configs import base
from videobert_jax import configuration, schema
from videobert_jax.cli import failures
from videobert_jax.files import extras
from videobert_jax.models import generation
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.decoder import BEGIN, END
from videobert_jax.models.generation import SearchSettings
from videobert_jax.models.next_piece import CachedDecoder, Written
from videobert_jax.models.videobert import VideoBert

_UNLIKELY = -1e4  # bias of [SEP]
_LENGTH_PENALTY = 0.0  # the peer's is another function of the length
_DEVIATION = 0.05  # of parameters
_SAME = 0.9  # of the rows; sums in another order turn near ties


class WholeDecoder:
    """What `CachedDecoder` gives, by decoding the whole beginnings for every piece."""

    def __init__(self, model: VideoBert, variables: Any, memory: jax.Array, of_memory: jax.Array):
        self._model, self._variables = model, variables
        self._memory, self._of_memory = memory, of_memory

    def nothing(self, beginnings: int, places: int) -> Written:
        ids = jnp.zeros((len(self._memory), beginnings, places), jnp.int32)
        return Written(jnp.zeros((), jnp.int32), ids, ids, ())

    def logits(self, written: Written) -> tuple[jax.Array, Written]:
        rows, beginnings, places = written.ids.shape
        ids = written.ids.reshape(rows * beginnings, places)
        ids = jnp.pad(ids, ((0, 0), (1, 0)), constant_values=BEGIN)[:, :places]
        positions = jnp.broadcast_to(jnp.arange(places)[None], ids.shape)
        segments = (positions <= written.length).astype(jnp.int32)
        memory, of_memory = (
            jnp.repeat(of, beginnings, axis=0) for of in (self._memory, self._of_memory)
        )
        nothing = memory[:, :0], of_memory[:, :0].astype(jnp.int32)
        inputs = (ids, segments, positions, *nothing, memory, of_memory.astype(jnp.int32))
        decoded: Any = self._model.apply(self._variables, *inputs, method="decode")
        last = jax.lax.dynamic_slice_in_dim(decoded, written.length, 1, axis=1)
        logits: Any = self._model.apply(self._variables, last, method="caption_logits")
        return logits.reshape(rows, beginnings, -1), written


def network(arguments: argparse.Namespace) -> tuple[ModelConfig, dict[str, Any]]:
    """A decoder's settings, and random parameters of it."""
    model = configuration.parse(base.get_config()).model
    config = dataclasses.replace(
        model,
        embed_dim=arguments.embed_dim,
        num_heads=arguments.heads,
        feed_forward_dim=4 * arguments.embed_dim,
        norm="post",
        norm_epsilon=1e-12,
        compute_dtype="float32",
        attention="dense",
        text=dataclasses.replace(model.text, num_layers=0, vocabulary_size=arguments.vocabulary),
        video=dataclasses.replace(model.video, num_layers=0, feature_dim=8),
        cross=dataclasses.replace(model.cross, num_layers=0),
        decoder=dataclasses.replace(model.decoder, num_layers=arguments.layers),
    )
    shape = schema.RowShape(1, 4, 4, 1, 1, 8, 0, 4, 0, 0)
    block = jax.tree.map(jnp.asarray, schema.zero_block(shape, 1))
    init = functools.partial(VideoBert(config).init, block=block)
    structs = nn.unbox(jax.eval_shape(init, jax.random.key(0)))["params"]
    random = np.random.default_rng(0)

    def parameter(path: tuple, struct: jax.ShapeDtypeStruct) -> jax.Array:
        mean = 1.0 if path[-1].key == "scale" else 0.0
        drawn = random.standard_normal(struct.shape, np.float32)
        return jnp.asarray(mean + _DEVIATION * drawn)

    params = {
        name: jax.tree_util.tree_map_with_path(parameter, structs[name])
        for name in ("text_embedding", "decoder")
    }
    bias = params["decoder"]["head"]["bias"]
    params["decoder"]["head"]["bias"] = bias.at[END].set(_UNLIKELY)
    return config, params


def ours(
    arguments: argparse.Namespace, kind: type, config: ModelConfig
) -> Callable[[Any, jax.Array, jax.Array], np.ndarray]:
    """A compiled beam search by decoders of a kind: (variables, memory, mask) -> pieces [b, u]."""
    settings = SearchSettings(
        beams=arguments.beams,
        max_pieces=arguments.length,
        num_pieces=config.text.vocabulary_size,
        length_penalty=_LENGTH_PENALTY,
        no_repeat_ngram=0,
        repetition_penalty=1.0,
    )

    @jax.jit
    def write(variables: Any, memory: jax.Array, of_memory: jax.Array) -> jax.Array:
        decoder = kind(VideoBert(config), variables, memory, of_memory)
        return generation.search(decoder, of_memory.any(1), settings).ids[:, 0]

    return lambda *inputs: np.asarray(write(*inputs))


def peers(
    arguments: argparse.Namespace, config: ModelConfig, params: dict[str, Any]
) -> Callable[[jax.Array, jax.Array], np.ndarray]:
    """The peer's beam search: (memory, mask) -> pieces [b, u]."""
    import torch
    import transformers

    from benchmarks import torch_decoder

    model = torch_decoder.equal(config, params)

    def write(memory: jax.Array, of_memory: jax.Array) -> np.ndarray:
        begin = torch.full((len(memory), 1), BEGIN)
        cache = transformers.EncoderDecoderCache(
            transformers.DynamicCache(), transformers.DynamicCache()
        )
        found = model.generate(
            input_ids=begin,
            encoder_hidden_states=torch.from_numpy(np.array(memory)),
            encoder_attention_mask=torch.from_numpy(np.array(of_memory)).long(),
            suppress_tokens=[piece for piece in range(len(schema.SPECIAL_PIECES)) if piece != END],
            past_key_values=cache,
            num_beams=arguments.beams,
            max_new_tokens=arguments.length,
            length_penalty=_LENGTH_PENALTY,
            early_stopping=True,
            do_sample=False,
        )
        pieces = found[:, 1:].numpy()
        ends = pieces == END
        # `generate` takes the padding piece 0 for none, and fills with [SEP].
        return np.where(ends.cumsum(axis=1) - ends > 0, 0, pieces)

    return write


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The benchmark's record. Raises BenchmarkError where the captions are not equal."""
    extras.require("transformers", "parity")
    config, params = network(arguments)
    random = np.random.default_rng(1)
    shape = arguments.rows, arguments.memory, config.embed_dim
    memory = jnp.asarray(random.standard_normal(shape, np.float32))
    of_memory = jnp.asarray(
        np.arange(arguments.memory)[None]
        < random.integers(arguments.memory // 2, arguments.memory + 1, size=(arguments.rows, 1))
    )
    variables, few = {"params": params}, slice(arguments.rows_uncached)
    cached, whole = ours(arguments, CachedDecoder, config), ours(arguments, WholeDecoder, config)
    theirs = peers(arguments, config, params)
    found: dict[str, np.ndarray] = {}

    def rate(name: str, write: Callable[..., np.ndarray], *inputs: Any) -> float:
        begun = time.perf_counter()
        found[name] = write(*inputs)
        return found[name].size / (time.perf_counter() - begun)

    rates = alternate.run(
        lambda: rate("ours", cached, variables, memory, of_memory),
        {"generate": lambda: rate("generate", theirs, memory, of_memory)},
        rounds=arguments.rounds,
        references={
            "uncached": lambda: rate("uncached", whole, variables, memory[few], of_memory[few]),
            "cached": lambda: rate("cached", cached, variables, memory[few], of_memory[few]),
        },
    )
    same = [
        float((found[first] == found[second]).all(axis=1).mean())
        for first, second in (("ours", "generate"), ("cached", "uncached"))
    ]
    if min(same) < _SAME:
        raise alternate.BenchmarkError(f"captions are not the same: {same} of the rows are.")
    references = {name: statistics.median(of) for name, of in rates.references.items()}
    figures = {
        "ratio_over_uncached": references["cached"] / references["uncached"],
        "rows_uncached": arguments.rows_uncached,
        "references": references,
        "same_captions": same[0],
        **{name: getattr(arguments, name) for name in _SIZES},
    }
    return alternate.record("generation", rates, "pieces/s", ["torch", "transformers"], figures)


_SIZES = {  # of UniVL's decoder; pieces, rows and memory of a batch of captions
    "layers": 3,
    "embed_dim": 768,
    "heads": 12,
    "vocabulary": 8192,
    "rows": 16,
    "memory": 48,
    "beams": 4,
    "length": 24,
}


def run(arguments: argparse.Namespace) -> int:
    alternate.write(measure(arguments), arguments.json)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    for name, value in _SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--rows-uncached", type=int, default=2, help="rows of a run without cache")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    return failures.exit_code(lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
