"""Attention against its formula in NumPy, with padding, packing and absent keys."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models.attention import Attention, allowed_pairs


def softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values - values.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def attend_in_numpy(params, queries, keys, allowed):
    """softmax(V Wq (T Wk)^T / sqrt(d_k)) T Wv, row by row over the allowed keys alone."""
    output = np.zeros_like(queries)
    weights = {name: params[name]["kernel"] for name in ("query", "key", "value", "output")}
    biases = {name: params[name]["bias"] for name in weights}
    for row in range(queries.shape[0]):
        for place in range(queries.shape[1]):
            chosen = keys[row][allowed[row, place]]
            if not len(chosen):
                continue
            heads = []
            for head in range(weights["query"].shape[1]):
                query = queries[row, place] @ weights["query"][:, head] + biases["query"][head]
                key = chosen @ weights["key"][:, head] + biases["key"][head]
                value = chosen @ weights["value"][:, head] + biases["value"][head]
                heads.append(softmax(query @ key.T / np.sqrt(key.shape[-1])) @ value)
            mixed = sum(h @ weights["output"][i] for i, h in enumerate(heads))
            output[row, place] = mixed + biases["output"]
    return output


@pytest.fixture(scope="module")
def inputs(tiny_model_config):
    generator = np.random.default_rng(1)
    video = generator.normal(size=(3, 6, 32)).astype(np.float32)
    text = generator.normal(size=(3, 9, 32)).astype(np.float32)
    video_segments = np.array([[1, 1, 2, 2, 2, 0], [1, 1, 1, 2, 0, 0], [1, 1, 1, 1, 1, 1]])
    # the second example of row 1 has no text, row 2 has no text at all
    text_segments = np.array([[1] * 4 + [2] * 4 + [0], [1] * 5 + [0] * 4, [0] * 9])
    allowed = jnp.ones((3, 6, 9), bool)
    attention = Attention(tiny_model_config)
    params = nn.unbox(
        attention.init(jax.random.key(0), jnp.asarray(video), jnp.asarray(text), allowed)["params"]
    )
    # biases are born 0, which would hide what a query without keys gives
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * generator.normal(size=leaf.shape).astype("f4"), params
    )
    return params, *(jnp.asarray(values) for values in (video, text, video_segments, text_segments))


@pytest.mark.parametrize("direction", ["video_reads_text", "text_reads_video"])
def test_cross_attention_is_the_formula_both_ways(inputs, tiny_model_config, direction):
    params, video, text, video_segments, text_segments = inputs
    queries, keys, query_ids, key_ids = (
        (video, text, video_segments, text_segments)
        if direction == "video_reads_text"
        else (text, video, text_segments, video_segments)
    )
    allowed = allowed_pairs(query_ids, key_ids)
    on_host = jax.tree.map(np.asarray, (params, queries, keys, allowed))
    expected = attend_in_numpy(*on_host)
    found = Attention(tiny_model_config).apply({"params": params}, queries, keys, allowed)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    without_key = ~np.asarray(allowed).any(-1)
    assert without_key.any()
    assert (np.asarray(found)[without_key] == 0).all()


def test_no_gradient_flows_where_no_key_is_allowed(inputs, tiny_model_config):
    params, video, text, video_segments, text_segments = inputs
    allowed = allowed_pairs(video_segments, text_segments)

    def total(queries, keys):
        return Attention(tiny_model_config).apply({"params": params}, queries, keys, allowed).sum()

    to_video, to_text = jax.grad(total, argnums=(0, 1))(video, text)
    assert np.isfinite(to_video).all() and np.isfinite(to_text).all()
    assert (np.asarray(to_video)[~np.asarray(allowed).any(-1)] == 0).all()
    assert (np.asarray(to_text)[~np.asarray(allowed).any(1)] == 0).all()
    assert np.abs(to_text[0]).max() > 0


def test_a_neighbour_in_the_row_changes_nothing(inputs, tiny_model_config):
    params, video, text, video_segments, text_segments = inputs
    allowed = allowed_pairs(video_segments, text_segments)
    attention = Attention(tiny_model_config)
    before = attention.apply({"params": params}, video, text, allowed)
    other = text.at[0, 4:8].add(5.0)  # the second example's text
    after = attention.apply({"params": params}, video, other, allowed)
    np.testing.assert_array_equal(before[0, :2], after[0, :2])
    assert np.abs(before[0, 2:5] - after[0, 2:5]).max() > 1e-3
