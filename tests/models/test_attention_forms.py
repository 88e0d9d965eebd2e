"""Every form of attention is the dense one: values, gradients, and 0 where no key is allowed."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models import row_attention
from videobert_jax.models.attention import Attention, allowed_in, turned
from videobert_jax.sharding import mesh as meshes

# Heads of 8 dimensions, which fill no lanes of a TPU, are flash attention's; of 32, four of which
# fill them, and of 128, our own kernel's.
WIDTHS = {"flash": (32, 4), "rows": (128, 4), "wide_heads": (256, 2)}


def config_of(tiny_model_config, form: str):
    """(settings of the dense form, of `form`)"""
    embed_dim, num_heads = WIDTHS.get(form, WIDTHS["flash"])
    dense = dataclasses.replace(
        tiny_model_config, embed_dim=embed_dim, num_heads=num_heads, attention="dense"
    )
    return dense, dataclasses.replace(dense, attention="kernel" if form in WIDTHS else form)


@pytest.fixture
def interpreted(monkeypatch):
    """The TPU's kernel and cuDNN's, run as ordinary operations."""
    from jax.experimental import pallas
    from jax.experimental.pallas.ops.tpu import flash_attention

    call = functools.partial(pallas.pallas_call, interpret=True)
    monkeypatch.setattr(flash_attention.pl, "pallas_call", call)
    attend = jax.nn.dot_product_attention

    def instead(query, key, value, *, mask=None, implementation, **lengths):
        if implementation == "cudnn":  # what it asks of a mask and of lengths
            assert mask.shape == (len(query), query.shape[2], query.shape[1], key.shape[1])
            assert query.shape[1] % 2 == key.shape[1] % 2 == 0
        return attend(query, key, value, mask=mask, implementation="xla", **lengths)

    monkeypatch.setattr(jax.nn, "dot_product_attention", instead)
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


def params_of(config):
    generator = np.random.default_rng(3)
    attention = Attention(config)
    inputs = jnp.zeros((1, 2, config.embed_dim))
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


# Text of two tiles of flash attention and a part of one; rows of which our kernel joins three, and
# rows that are too long for it.
FORMS = [("flash", 140), ("rows", 40), ("rows", 140), ("wide_heads", 40), ("rows", 520)]
FORMS += [("cudnn", 13), ("lengths", 140)]


def cases():
    """Each form in one direction is quick, one of them in the other one."""
    for (form, length), swap in itertools.product(FORMS, (False, True)):
        quick = swap != ((form, length) == ("rows", 40))
        direction = "video_reads_text" if swap else "text_reads_video"
        marks = [] if quick else [pytest.mark.long]
        yield pytest.param(form, length, swap, marks=marks, id=f"{direction}-{form}-{length}")


@pytest.mark.parametrize(("form", "text_length", "swap"), [*cases()])
def test_a_form_is_dense_attention(tiny_model_config, interpreted, form, text_length, swap):
    generator = np.random.default_rng(0)
    make_segments = single_segments if form == "lengths" else packed_segments
    rows, video_length = 3, 9
    text = make_segments(generator, rows, text_length, {(0, 1), (1, 0)})
    video = make_segments(generator, rows, video_length, {(1, 2), (2, 0)})
    dense, config = config_of(tiny_model_config, form)
    params = params_of(dense)
    sides = [
        jnp.asarray(generator.normal(size=(rows, length, dense.embed_dim)), jnp.float32)
        for length in (text_length, video_length)
    ]
    queries, keys = sides[::-1] if swap else sides
    segments = (jnp.asarray(text), jnp.asarray(video))
    run = functools.partial(outputs_and_gradients, swap=swap)
    expected, expected_gradients = run(dense, params, queries, keys, segments)
    found, gradients = run(config, params, queries, keys, segments)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    for one, other in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-5)
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


@pytest.mark.parametrize("form", [*WIDTHS, "cudnn", "lengths"])
def test_values_that_nobody_may_see_change_no_bit(tiny_model_config, interpreted, form):
    generator = np.random.default_rng(1)
    _, config = config_of(tiny_model_config, form)
    params = params_of(config)
    make = single_segments if form == "lengths" else packed_segments
    segments = make(generator, 2, 20, set())
    values = generator.normal(size=(2, 20, config.embed_dim)).astype(np.float32)
    other = values.copy()
    changed = (segments == 2) | (segments == 0)
    other[changed] = 100 * generator.normal(size=(changed.sum(), config.embed_dim))

    @jax.jit
    def run(values):
        allowed = allowed_in(config, jnp.asarray(segments), jnp.asarray(segments))
        return Attention(config).apply({"params": params}, values, values, allowed)

    before, after = np.asarray(run(values)), np.asarray(run(other))
    np.testing.assert_array_equal(before[~changed], after[~changed])
    assert (before[segments == 0] == 0).all() and (before != after).any() == (form != "lengths")


@pytest.mark.parametrize("kernel", [pytest.param("flash", marks=pytest.mark.long), "rows"])
def test_a_kernel_splits_blocks_and_heads_over_the_mesh(
    tiny_model_config, interpreted, monkeypatch, kernel
):
    """Under `vmap` over blocks, as the training step calls it; without it XLA would gather them."""
    generator = np.random.default_rng(2)
    mesh = meshes.create_mesh(meshes.MeshConfig(4, 1, 2))  # over fsdp parameters are gathered
    dense, fused = config_of(tiny_model_config, kernel)
    if kernel == "rows":  # as many lanes on every device
        doubled = {"embed_dim": 2 * dense.embed_dim, "num_heads": 2 * dense.num_heads}
        dense, fused = (dataclasses.replace(each, **doubled) for each in (dense, fused))
    attended = []
    attend = row_attention.attend
    monkeypatch.setattr(
        row_attention,
        "attend",
        lambda query, *rest: attended.append(query.shape[2]) or attend(query, *rest),
    )
    params = params_of(dense)
    inputs = jnp.asarray(generator.normal(size=(4, 2, 8, dense.embed_dim)), jnp.float32)
    segments = jnp.asarray(np.stack([packed_segments(generator, 2, 8, set()) for _ in range(4)]))

    def over_blocks(config):
        def block(inputs, segments):
            allowed = allowed_in(config, segments, segments)
            return Attention(config).apply({"params": params}, inputs, inputs, allowed)

        mapped = jax.vmap(block, spmd_axis_name=meshes.BLOCK_AXES)
        return lambda inputs: (mapped(inputs, segments) ** 2).sum()

    found = {}
    for form, config in (("dense", dense), ("kernel", fused)):
        with jax.set_mesh(mesh):
            placed = jax.device_put(inputs, jax.NamedSharding(mesh, jax.P(meshes.BLOCK_AXES)))
            compiled = jax.jit(jax.value_and_grad(over_blocks(config))).lower(placed).compile()
            found[form] = jax.device_get(compiled(placed))
        assert "all-gather" not in compiled.as_text()
    assert set(attended) == ({128} if kernel == "rows" else set())
    np.testing.assert_allclose(found["kernel"][0], found["dense"][0], rtol=1e-5)
    np.testing.assert_allclose(found["kernel"][1], found["dense"][1], atol=5e-4, rtol=1e-5)


def test_the_form_follows_platform_heads_and_row_length(tiny_model_config):
    narrow, full = (
        dataclasses.replace(config_of(tiny_model_config, name)[0], attention="auto")
        for name in ("flash", "rows")
    )
    found = {
        (platform, length): narrow.on(platform, length, 1).attention
        for platform in ("cpu", "gpu", "tpu")
        for length in (64, 512)
    }
    assert found.pop(("tpu", 512)) == "kernel" and set(found.values()) == {"dense"}
    assert full.on("tpu", 64, 1).attention == "kernel"
    assert full.on("gpu", 64, 1).attention == "dense"
    shared = dataclasses.replace(full, embed_dim=768, num_heads=12)  # 384 lanes on two, 192 on four
    assert shared.on("tpu", 64, 2).attention == "kernel"
    assert shared.on("tpu", 64, 4).attention == "dense"
    assert shared.on("tpu", 512, 4).attention == "kernel"
    dropping = dataclasses.replace(full, attention_dropout_rate=0.1)
    assert dropping.on("tpu", 512, 1).attention == "dense"
    said = dataclasses.replace(narrow, attention="kernel")
    assert said.on("tpu", 8, 1) == said
    with pytest.raises(ValueError, match="'kernel' is for TPUs, found cpu; use 'auto'"):
        said.on("cpu", 512, 1)
    cudnn = dataclasses.replace(narrow, attention="cudnn", compute_dtype="bfloat16")
    assert cudnn.on("gpu", 64, 1) == cudnn
    with pytest.raises(ValueError, match="'cudnn' is for GPUs, found tpu; use 'auto'"):
        cudnn.on("tpu", 64, 1)
    for setting in ({"compute_dtype": "float32"}, {"num_heads": 8}):
        with pytest.raises(ValueError, match="takes bfloat16 and heads of up to 128 in steps of 8"):
            dataclasses.replace(cudnn, **setting).on("gpu", 64, 1)
