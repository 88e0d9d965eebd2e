"""Every form of attention is the dense one: values, gradients, and 0 where no key is allowed."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models.attention import Attention, allowed_in, turned
from videobert_jax.sharding import mesh as meshes

WIDTH = 32


@pytest.fixture
def interpreted(monkeypatch):
    """The TPU's kernel, run as ordinary operations."""
    from jax.experimental import pallas
    from jax.experimental.pallas.ops.tpu import flash_attention

    call = functools.partial(pallas.pallas_call, interpret=True)
    monkeypatch.setattr(flash_attention.pl, "pallas_call", call)
    jax.clear_caches()


def packed_segments(generator, rows: int, length: int, absent: set[tuple[int, int]]) -> np.ndarray:
    """Rows of three examples of about a fourth of the length, those in `absent` without any."""
    segments = np.zeros((rows, length), np.int32)
    for row in range(rows):
        lengths = generator.integers(1, length // 4 + 2, size=3)
        parts = [
            np.full(size, example + 1)
            for example, size in enumerate(lengths)
            if (row, example) not in absent
        ]
        joined = np.concatenate(parts)[:length]
        segments[row, : len(joined)] = joined
    return segments


def single_segments(generator, rows: int, length: int, absent: set[tuple[int, int]]) -> np.ndarray:
    """Rows of one example each, or of none."""
    segments = np.zeros((rows, length), np.int32)
    for row in range(rows):
        if (row, 0) not in absent:
            segments[row, : generator.integers(1, length + 1)] = 1
    return segments


@pytest.fixture(scope="module")
def params(tiny_model_config):
    generator = np.random.default_rng(3)
    attention = Attention(tiny_model_config)
    inputs = jnp.zeros((1, 2, WIDTH))
    born = attention.init(jax.random.key(0), inputs, inputs, jnp.ones((1, 2, 2), bool))["params"]
    # biases are born 0, which would hide what a query without keys gives
    return jax.tree.map(
        lambda x: x + 0.1 * generator.normal(size=x.shape).astype("f4"), nn.unbox(born)
    )


def outputs_and_gradients(config, params, queries, keys, segments, *, swap: bool):
    """(outputs, their gradients in the parameters, queries and keys) of one direction."""

    def total(params, queries, keys):
        allowed = allowed_in(config, *segments)
        outputs = Attention(config).apply(
            {"params": params}, queries, keys, turned(allowed) if swap else allowed
        )
        weights = jnp.cos(jnp.arange(outputs.size, dtype=jnp.float32)).reshape(outputs.shape)
        return (outputs * weights).sum(), outputs

    function = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)
    (_, outputs), gradients = jax.jit(function)(params, queries, keys)
    return jax.device_get((outputs, gradients))


@pytest.mark.parametrize(
    ("form", "make_segments"),
    [("kernel", packed_segments), ("lengths", single_segments)],
    ids=["kernel", "lengths"],
)
@pytest.mark.parametrize("swap", [False, True], ids=["text_reads_video", "video_reads_text"])
def test_a_form_is_dense_attention(
    tiny_model_config, params, interpreted, form, make_segments, swap
):
    generator = np.random.default_rng(0)
    rows, text_length, video_length = 3, 140, 9  # two tiles of a kernel, and a part of one
    text = make_segments(generator, rows, text_length, {(0, 1), (1, 0)})
    video = make_segments(generator, rows, video_length, {(1, 2), (2, 0)})
    sides = [
        jnp.asarray(generator.normal(size=(rows, length, WIDTH)), jnp.float32)
        for length in (text_length, video_length)
    ]
    queries, keys = sides[::-1] if swap else sides
    segments = (jnp.asarray(text), jnp.asarray(video))
    run = functools.partial(outputs_and_gradients, swap=swap)
    dense = dataclasses.replace(tiny_model_config, attention="dense")
    expected, expected_gradients = run(dense, params, queries, keys, segments)
    config = dataclasses.replace(tiny_model_config, attention=form)
    found, gradients = run(config, params, queries, keys, segments)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    for one, other in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-5)
    query_segments, key_segments = (video, text) if swap else (text, video)
    same = query_segments[:, :, None] == key_segments[:, None]
    allowed = same & (query_segments > 0)[:, :, None]
    for without, values in (
        (~allowed.any(2), found),
        (~allowed.any(2), gradients[1]),
        (~allowed.any(1), gradients[2]),
    ):
        assert without.any() and not without.all()
        assert (values[without] == 0).all() and np.abs(values[~without]).min(1).max() > 0


@pytest.mark.parametrize("form", ["kernel", "lengths"])
def test_values_that_nobody_may_see_change_no_bit(tiny_model_config, params, interpreted, form):
    generator = np.random.default_rng(1)
    config = dataclasses.replace(tiny_model_config, attention=form)
    make = packed_segments if form == "kernel" else single_segments
    segments = make(generator, 2, 20, set())
    values = generator.normal(size=(2, 20, WIDTH)).astype(np.float32)
    other = values.copy()
    changed = (segments == 2) | (segments == 0)
    other[changed] = 100 * generator.normal(size=(changed.sum(), WIDTH))

    @jax.jit
    def run(values):
        allowed = allowed_in(config, jnp.asarray(segments), jnp.asarray(segments))
        return Attention(config).apply({"params": params}, values, values, allowed)

    before, after = np.asarray(run(values)), np.asarray(run(other))
    np.testing.assert_array_equal(before[~changed], after[~changed])
    assert (before[segments == 0] == 0).all() and (before != after).any() == (form == "kernel")


def test_a_kernel_splits_blocks_and_heads_over_the_mesh(tiny_model_config, params, interpreted):
    """Under `vmap` over blocks, as the training step calls it; without it XLA would gather them."""
    generator = np.random.default_rng(2)
    mesh = meshes.create_mesh(meshes.MeshConfig(2, 2, 2))
    inputs = jnp.asarray(generator.normal(size=(4, 2, 8, WIDTH)), jnp.float32)
    segments = jnp.asarray(np.stack([packed_segments(generator, 2, 8, set()) for _ in range(4)]))

    def over_blocks(config):
        def block(inputs, segments):
            allowed = allowed_in(config, segments, segments)
            return Attention(config).apply({"params": params}, inputs, inputs, allowed)

        mapped = jax.vmap(block, spmd_axis_name=meshes.BLOCK_AXES)
        return lambda inputs: (mapped(inputs, segments) ** 2).sum()

    found = {}
    for form in ("dense", "kernel"):
        config = dataclasses.replace(tiny_model_config, attention=form)
        with jax.set_mesh(mesh):
            placed = jax.device_put(inputs, jax.NamedSharding(mesh, jax.P(meshes.BLOCK_AXES)))
            compiled = jax.jit(jax.value_and_grad(over_blocks(config))).lower(placed).compile()
            found[form] = jax.device_get(compiled(placed))
        assert "all-gather" not in compiled.as_text()
    np.testing.assert_allclose(found["kernel"][0], found["dense"][0], rtol=1e-5)
    np.testing.assert_allclose(found["kernel"][1], found["dense"][1], atol=1e-5, rtol=1e-5)


def test_the_form_follows_platform_and_row_length(tiny_model_config):
    automatic = dataclasses.replace(tiny_model_config, attention="auto")
    found = {
        (platform, length): automatic.on(platform, length).attention
        for platform in ("cpu", "gpu", "tpu")
        for length in (64, 512)
    }
    assert found.pop(("tpu", 512)) == "kernel" and set(found.values()) == {"dense"}
    dropping = dataclasses.replace(automatic, attention_dropout_rate=0.1)
    assert dropping.on("tpu", 512).attention == "dense"
    said = dataclasses.replace(automatic, attention="kernel")
    assert said.on("tpu", 8) == said
    with pytest.raises(ValueError, match="'kernel' is for TPUs, found cpu; use 'auto'"):
        said.on("cpu", 512)
