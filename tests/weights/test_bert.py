"""Published BERTs become parameters of the network, and what is no such BERT is named."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

from tests import berts
from videobert_jax.export import names
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.models.config import BertConfig, ModelConfig
from videobert_jax.text.tokenizer import TokenizerError
from videobert_jax.weights import bert
from videobert_jax.weights.errors import WeightsError


@pytest.fixture(scope="module")
def network(tiny_model_config) -> ModelConfig:
    """The tiny network with a BERT's norms; its text tower has two of the BERT's three layers."""
    return dataclasses.replace(tiny_model_config, norm="post", norm_epsilon=1e-12)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return berts.tensors(head=True)


def test_every_parameter_has_its_place(tmp_path, network, weights):
    loaded = bert.load(berts.write(tmp_path, weights=weights), network, 1)
    assert loaded.num_layers == 3 and loaded.name == tmp_path.name
    # Shapes are the network's but for rows that pad the vocabulary and layers not asked for.
    config = dataclasses.replace(
        network,
        text=dataclasses.replace(network.text, vocabulary_size=len(berts.PIECES)),
        video=dataclasses.replace(network.video, num_layers=1),
    )
    structs = names.variable_structs(config)["params"]
    for module, params in loaded.params.items():
        assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, structs[module])
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    assert set(loaded.params) == {
        "text_embedding",
        "text_encoder",
        "video_encoder",
        "masked_language_head",
    }


def test_pieces_keep_their_rows(tmp_path, network, weights):
    loaded = bert.load(berts.write(tmp_path, weights=weights), network, 0)
    rows = [berts.PIECES.index(piece) for piece in loaded.vocabulary.pieces]
    assert rows[:5] == [0, 5, 6, 7, 8]
    embedding, head = loaded.params["text_embedding"], loaded.params["masked_language_head"]
    words = weights["embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(embedding["pieces"], words[rows])
    np.testing.assert_array_equal(head["bias"], weights["cls.predictions.bias"][rows])
    places = weights["embeddings.position_embeddings.weight"][: network.text.max_length]
    types = weights["embeddings.token_type_embeddings.weight"]
    np.testing.assert_array_equal(embedding["positions"], places + types[0])


def test_layers_are_stacked_in_order(tmp_path, network, weights):
    params = bert.load(berts.write(tmp_path, weights=weights), network, 2).params
    layer = params["text_encoder"]["stack"]["layers"]["layer"]
    inputs = np.random.default_rng(0).normal(size=32).astype(np.float32)
    for number in (0, 1):
        path = f"encoder.layer.{number}"
        matrix = weights[f"{path}.attention.self.key.weight"]
        kernel = layer["attention"]["key"]["kernel"][number]
        found = np.einsum("d,dnh->nh", inputs, kernel).reshape(-1)
        np.testing.assert_allclose(found, matrix @ inputs, rtol=1e-4, atol=1e-5)
        matrix = weights[f"{path}.attention.output.dense.weight"]
        kernel = layer["attention"]["output"]["kernel"][number]
        found = np.einsum("nh,nhd->d", inputs.reshape(4, 8), kernel)
        np.testing.assert_allclose(found, matrix @ inputs, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(
            layer["feed_forward_residual"]["norm"]["bias"][number],
            weights[f"{path}.output.LayerNorm.bias"],
        )
    assert jax.tree.all(
        jax.tree.map(np.array_equal, params["video_encoder"], params["text_encoder"])
    )


def old_names(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As files of `BertForPreTraining` of the first years have them."""
    renamed = {}
    for name, array in weights.items():
        name = name if name.startswith("cls.") else f"bert.{name}"
        if "LayerNorm" in name:
            name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        renamed[name] = array
    return renamed | {
        "bert.embeddings.position_ids": np.arange(40)[None],
        "cls.seq_relationship.weight": np.zeros((2, 32), np.float32),
        "cls.seq_relationship.bias": np.zeros(2, np.float32),
        "cls.predictions.decoder.weight": weights["embeddings.word_embeddings.weight"].copy(),
        "cls.predictions.decoder.bias": weights["cls.predictions.bias"].copy(),
    }


def test_names_of_other_years_give_the_same(tmp_path, network, weights):
    expected = bert.load(berts.write(tmp_path / "new", weights=weights), network, 1)
    found = bert.load(berts.write(tmp_path / "old", weights=old_names(weights)), network, 1)
    assert jax.tree.all(jax.tree.map(np.array_equal, found.params, expected.params))
    assert found.sha256 != expected.sha256


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(tmp_path, network, weights, kind):
    half = {name: array.astype(kind) for name, array in weights.items()}
    found = bert.load(berts.write(tmp_path, weights=half), network, 0).params
    pieces = found["text_embedding"]["pieces"]
    assert pieces.dtype == np.float32
    first = weights["embeddings.word_embeddings.weight"][0].astype(kind).astype(np.float32)
    np.testing.assert_array_equal(pieces[0], first)


def test_what_config_does_not_say_is_as_in_the_first_bert(tmp_path, network):
    said = {"model_type", "layer_norm_eps", "position_embedding_type"}
    config = {name: value for name, value in berts.CONFIG.items() if name not in said}
    found = bert.load(berts.write(tmp_path / "short", config=config), network, 0)
    whole = bert.load(berts.write(tmp_path / "whole"), network, 0)
    jax.tree.map(np.testing.assert_array_equal, found.params, whole.params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 64}, r"embed_dim is 32, its hidden_size 64. Say --config.model.embed_dim"),
        ({"num_attention_heads": 8}, r"num_heads is 4, its num_attention_heads 8\. Say .*heads=8$"),
        ({"intermediate_size": 128}, "feed_forward_dim is 64, its intermediate_size 128"),
        ({"hidden_act": "relu"}, "activation is gelu, its hidden_act relu"),
        ({"layer_norm_eps": 1e-5}, "norm_epsilon is 1e-12, its layer_norm_eps 1e-05"),
        ({"num_hidden_layers": 1}, r"text.num_layers is 2, its num_hidden_layers 1\. Say"),
        ({"num_hidden_layers": 2**63}, rf"tensors cannot be the {2**63} layers of config.json"),
        ({"max_position_embeddings": 16}, "text.max_length is 32, its max_position_embeddings 16"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', expected gelu or relu"),
        ({"model_type": "roberta"}, "model_type is 'roberta', expected bert"),
        ({"position_embedding_type": "relative_key"}, "'relative_key', expected absolute"),
        ({"is_decoder": True}, "is_decoder is True, expected False"),
        ({"hidden_size": "32"}, "hidden_size is '32', expected a whole number above 0"),
        ({"type_vocab_size": 0}, "type_vocab_size is 0, expected a whole number above 0"),
        ({"vocab_size": 48}, "the vocabulary has 47 pieces, config.json says vocab_size 48"),
    ],
)
def test_another_network_is_named_with_the_remedy(tmp_path, network, changes, message):
    berts.write(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(berts.CONFIG | changes))
    with pytest.raises(WeightsError, match=message):
        bert.load(tmp_path, network, 0)


def test_all_settings_that_differ_are_said_at_once(tmp_path, tiny_model_config):
    with pytest.raises(WeightsError) as caught:
        bert.load(berts.write(tmp_path), tiny_model_config, 5)
    assert str(caught.value).endswith(
        "Say --config.model.norm=post --config.model.norm_epsilon=1e-12 "
        "--config.init.bert_video_layers=3"
    )


def test_a_frozen_bert_has_sizes_of_its_own(tmp_path, tiny_model_config, weights):
    sizes = BertConfig(32, 4, 64, 2, "gelu", 1e-12)
    text = dataclasses.replace(tiny_model_config.text, input="bert_vectors", bert=sizes)
    network = dataclasses.replace(tiny_model_config, embed_dim=8, num_heads=1, text=text)
    loaded = bert.load(berts.write(tmp_path, weights=weights), network, 0)
    assert set(loaded.params) == {"text_embedding", "text_encoder"}  # and no head
    query = loaded.params["text_encoder"]["stack"]["layers"]["layer"]["attention"]["query"]
    assert query["kernel"].shape == (2, 32, 4, 8)
    other = dataclasses.replace(sizes, embed_dim=30, num_heads=5, num_layers=9, norm_epsilon=1e-6)
    network = dataclasses.replace(network, text=dataclasses.replace(text, bert=other))
    with pytest.raises(WeightsError) as caught:
        bert.load(tmp_path, network, 0)
    assert str(caught.value).endswith(
        "Say --config.model.text.bert.embed_dim=32 --config.model.text.bert.num_heads=4 "
        "--config.model.text.bert.norm_epsilon=1e-12 --config.model.text.bert.num_layers=3"
    )


def without(name: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: array for key, array in weights.items() if key != name}


KEY = "encoder.layer.1.attention.self.key.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(KEY, w), f"{KEY} is missing"),
        (lambda w: without("cls.predictions.bias", w), "cls.predictions.bias is missing"),
        (lambda w: w | {"classifier.weight": np.ones((2, 32), np.float32)}, "classifier.weight is"),
        (lambda w: w | {"encoder.layer.3.output.dense.bias": w[KEY]}, "layer.3.* is no tensor of"),
        (lambda w: w | {KEY: np.ones(31, np.float32)}, rf"{KEY} is float32\[31\], expected \[32\]"),
        (lambda w: w | {KEY: np.ones(32, np.int32)}, rf"{KEY} is int32\[32\]"),
        (lambda w: w | {KEY: np.full(32, np.nan, np.float32)}, f"{KEY} has NaN or infinite"),
        (lambda w: w | {f"bert.{KEY}": w[KEY]}, f"holds {KEY} twice"),
        (
            lambda w: w | {"cls.predictions.decoder.weight": np.ones((47, 32), np.float32)},
            "decoder.weight is not embeddings.word_embeddings.weight",
        ),
        (
            lambda w: w | {"embeddings.word_embeddings.weight": np.ones((48, 32), np.float32)},
            r"word_embeddings.weight is float32\[48, 32\], expected \[47, 32\]",
        ),
    ],
)
def test_other_tensors_are_named(tmp_path, network, weights, change: Any, message):
    with pytest.raises(WeightsError, match=message):
        bert.load(berts.write(tmp_path, weights=change(weights)), network, 0)


def test_missing_and_damaged_files_are_named(tmp_path: pathlib.Path, network):
    with pytest.raises(WeightsError, match=r"nowhere: has no config.json; expected the folder"):
        bert.load(tmp_path / "nowhere", network, 0)
    folder = berts.write(tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-4])
    with pytest.raises(ArrayFileError, match="not a whole safetensors file"):
        bert.load(folder, network, 0)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no model.safetensors; .*`save_pretrained`"):
        bert.load(folder, network, 0)
    berts.write(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"neither tokenizer.json nor vocab.txt"):
        bert.load(folder, network, 0)
    for content, message in (("{", "config.json: not JSON"), ("[]", "expected a JSON object")):
        (folder / "config.json").write_text(content)
        with pytest.raises(WeightsError, match=message):
            bert.load(folder, network, 0)
