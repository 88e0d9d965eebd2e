"""The decoder sees earlier pieces of its own example, and what was encoded of it; nothing else."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax import schema
from videobert_jax.models.decoder import Decoder

ROWS = 4


@pytest.fixture(scope="module")
def decode(tiny_model_config):
    """Decoder's outputs [r, u, d] of inputs as arrays: embedded pieces, their segment ids, memory
    and its segment ids."""
    config = dataclasses.replace(
        tiny_model_config, decoder=dataclasses.replace(tiny_model_config.decoder, num_layers=2)
    )
    decoder = Decoder(config)

    def both(key, *inputs):
        variables = nn.unbox(decoder.init(key, *inputs))
        return decoder.apply(variables, *inputs)

    # init and apply in one program, which is compiled once for all tests
    jitted = jax.jit(both)
    return lambda *inputs: np.asarray(jitted(jax.random.key(0), *map(jnp.asarray, inputs)))


def packed() -> tuple[np.ndarray, ...]:
    """Rows of two examples, of every length."""
    block, generator = fakes.block(ROWS), np.random.default_rng(0)
    pieces = generator.normal(size=(*block.target_ids.shape, 32)).astype(np.float32)
    memory = generator.normal(size=(*block.video_segment_ids.shape, 32)).astype(np.float32)
    return pieces, block.target_segment_ids, memory, block.video_segment_ids


def unpacked(example: int) -> tuple[np.ndarray, ...]:
    """The same example of every row alone, at the row's beginning."""
    alone = []
    for values, segments in (packed()[:2], packed()[2:]):
        new_values, new_segments = np.zeros_like(values), np.zeros_like(segments)
        for row in range(ROWS):
            own = segments[row] == example
            new_values[row, : own.sum()] = values[row, own]
            new_segments[row, : own.sum()] = 1
        alone += [new_values, new_segments]
    return tuple(alone)


def test_packed_examples_come_out_as_each_alone(decode):
    outputs, segments = decode(*packed()), packed()[1]
    for example in (1, 2):
        alone = decode(*unpacked(example))
        for row in range(ROWS):
            own = outputs[row, segments[row] == example]
            assert len(own) >= 2
            np.testing.assert_allclose(own, alone[row, : len(own)], atol=1e-5)


def test_a_piece_changes_what_comes_behind_it_in_its_example_alone(decode):
    pieces, segments, *memory = packed()
    before = decode(pieces, segments, *memory)
    changed = pieces.copy()
    places = [np.flatnonzero(segments[row] == 1)[1] for row in range(ROWS)]
    changed[np.arange(ROWS), places] *= -1.0
    after = decode(changed, segments, *memory)
    for row, place in enumerate(places):
        differs = np.abs(after[row] - before[row]).max(-1) > 1e-4
        behind = (segments[row] == 1) & (np.arange(len(differs)) >= place)
        np.testing.assert_array_equal(differs[segments[row] > 0], behind[segments[row] > 0])
        np.testing.assert_array_equal(after[row, ~behind], before[row, ~behind])


def test_only_the_own_memory_is_read_and_none_where_there_is_none(decode):
    pieces, segments, memory, memory_segments = packed()
    memory_segments = memory_segments.copy()
    memory_segments[0, memory_segments[0] == 1] = schema.NO_SEGMENT
    before = decode(pieces, segments, memory, memory_segments)
    changed = memory + 100.0 * (memory_segments != 2)[..., None]
    after = decode(pieces, segments, changed, memory_segments)
    np.testing.assert_array_equal(after[0], before[0])  # the first of this row reads nothing
    first, second = segments[1:] == 1, segments[1:] == 2
    assert np.abs(after[1:][first] - before[1:][first]).max() > 1e-3
    np.testing.assert_array_equal(after[1:][second], before[1:][second])
