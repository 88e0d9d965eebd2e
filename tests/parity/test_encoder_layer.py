"""One encoder layer is PyTorch's `nn.TransformerEncoderLayer` with the same weights."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.models.encoder import EncoderLayer

torch = pytest.importorskip("torch", reason="peers: make setup-parity")
WIDTH, HEADS, FEED_FORWARD, LENGTH = 512, 8, 2048, 24


def transplant(theirs, params, head_dim):
    """Our parameters' tree filled with PyTorch's weights; nn.Linear keeps [out, in]."""
    weights = {name: value.detach().numpy() for name, value in theirs.named_parameters()}
    attention = params["attention"]
    projections = np.split(weights["self_attn.in_proj_weight"], 3)
    biases = np.split(weights["self_attn.in_proj_bias"], 3)
    for name, kernel, bias in zip(("query", "key", "value"), projections, biases, strict=True):
        attention[name] = {
            "kernel": kernel.T.reshape(WIDTH, HEADS, head_dim),
            "bias": bias.reshape(HEADS, head_dim),
        }
    attention["output"] = {
        "kernel": weights["self_attn.out_proj.weight"].T.reshape(HEADS, head_dim, WIDTH),
        "bias": weights["self_attn.out_proj.bias"],
    }
    for ours, name in (("expand", "linear1"), ("contract", "linear2")):
        params["feed_forward"][ours] = {
            "kernel": weights[f"{name}.weight"].T,
            "bias": weights[f"{name}.bias"],
        }
    for ours, name in (("attention_residual", "norm1"), ("feed_forward_residual", "norm2")):
        params[ours]["norm"] = {
            "scale": weights[f"{name}.weight"],
            "bias": weights[f"{name}.bias"],
        }
    return params


@pytest.mark.parametrize(("norm", "activation"), [("post", "relu"), ("pre", "gelu")])
def test_encoder_layer_is_pytorchs(tiny_model_config, norm, activation):
    config = dataclasses.replace(
        tiny_model_config,
        embed_dim=WIDTH,
        num_heads=HEADS,
        feed_forward_dim=FEED_FORWARD,
        norm=norm,
        activation=activation,
        dropout_rate=0.0,
    )
    torch.manual_seed(0)
    theirs = torch.nn.TransformerEncoderLayer(
        WIDTH,
        HEADS,
        FEED_FORWARD,
        dropout=0.0,
        activation=activation,
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=norm == "pre",
    )
    for parameter in theirs.parameters():  # norms and biases are born 1 and 0, which hides swaps
        parameter.data += 0.02 * torch.randn_like(parameter)
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(3, LENGTH, WIDTH)).astype(np.float32)
    padding = np.arange(LENGTH)[None] >= np.array([LENGTH, 15, 7])[:, None]
    forbidden = generator.random((LENGTH, LENGTH)) < 0.4
    forbidden[:, 0] = False  # PyTorch's softmax over no key at all is NaN
    with torch.no_grad():
        expected = theirs(
            torch.from_numpy(inputs),
            src_mask=torch.from_numpy(forbidden),
            src_key_padding_mask=torch.from_numpy(padding),
        ).numpy()

    allowed = jnp.asarray(~forbidden[None] & ~padding[:, None, :])
    layer = EncoderLayer(config)
    born = nn.unbox(layer.init(jax.random.key(0), jnp.asarray(inputs), allowed)["params"])
    params = transplant(theirs, jax.tree.map(np.asarray, born), WIDTH // HEADS)
    params = jax.tree.map(jnp.asarray, params)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, born)
    found = np.asarray(layer.apply({"params": params}, jnp.asarray(inputs), allowed))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    unmasked = np.asarray(
        layer.apply({"params": params}, jnp.asarray(inputs), jnp.ones_like(allowed))
    )
    assert np.abs(unmasked - expected).max() > 1e-2  # the masks are on
