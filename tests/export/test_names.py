import dataclasses

import jax
import numpy as np
import pytest

from tests import bundles
from videobert_jax.export import names


def test_a_tensor_of_a_layer_is_that_layers_slice_of_the_scanned_leaf(tiny_run):
    variables = bundles.tiny(tiny_run).variables
    params, tensors = variables["params"], names.unstack(variables)
    stacked = params["text_encoder"]["stack"]["layers"]["layer"]["attention"]["query"]["kernel"]
    assert stacked.shape[0] == tiny_run.model.text.num_layers == 2
    for layer in range(2):
        np.testing.assert_array_equal(
            tensors[f"text_encoder.layers.{layer}.attention.query.kernel"], stacked[layer]
        )
    np.testing.assert_array_equal(
        tensors["text_embedding.pieces"], params["text_embedding"]["pieces"]
    )
    assert sum(t.size for t in tensors.values()) == sum(x.size for x in jax.tree.leaves(params))


def test_names_hold_no_trace_of_scanning(tiny_run):
    tensors = names.unstack(bundles.tiny(tiny_run).variables)
    assert not [name for name in tensors if "stack" in name or ".layer." in name or "/" in name]
    cross = [name for name in tensors if name.startswith("cross_encoder.layers.0.")]
    assert "cross_encoder.layers.0.video_reads_text.query.kernel" in cross
    assert "decoder.layers.0.cross_attention.query.kernel" in tensors


def test_stacking_undoes_unstacking(tiny_run):
    bundle = bundles.tiny(tiny_run)
    again = names.arrange(names.unstack(bundle.variables), np.stack)
    assert again["constants"] == {}  # the statistics are no tensors of an export
    params = bundle.variables["params"]
    assert jax.tree.structure(again["params"]) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again["params"], params)


def test_every_difference_is_named(tiny_run):
    bundle = bundles.tiny(tiny_run)
    tensors = names.unstack(bundle.variables)
    tensors["text_encoder.layers.2.attention.query.kernel"] = np.zeros(3, np.float32)
    del tensors["pooler.project.bias"]
    tensors["matching_head.score.bias"] = np.zeros(2, np.float32)
    tensors["video_embedding.mask"] = tensors["video_embedding.mask"].astype(np.float16)
    with pytest.raises(names.NamesError) as caught:
        names.require_network(tensors, bundle.config, "model.safetensors")
    message = str(caught.value)
    assert "model.safetensors" in message
    assert "pooler.project.bias is missing" in message
    assert "text_encoder.layers.2.attention.query.kernel is no tensor of this network" in message
    assert "matching_head.score.bias is float32[2], expected float32[1]" in message
    assert "video_embedding.mask is float16[32], expected float32[32]" in message


def test_another_depth_is_refused(tiny_run):
    bundle = bundles.tiny(tiny_run)
    deeper = dataclasses.replace(
        bundle.config, text=dataclasses.replace(bundle.config.text, num_layers=3)
    )
    with pytest.raises(names.NamesError, match=r"text_encoder\.layers\.2\.\S+ is missing"):
        names.require_network(names.unstack(bundle.variables), deeper, "here")
