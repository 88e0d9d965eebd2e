"""What others read of an export: plain PyTorch, transformers, tokenizers, model hubs."""

import dataclasses
import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest
import sentencepiece

from tests import berts
from tests.export import fresh, programs
from videobert_jax.export import model_card
from videobert_jax.export import safetensors as export
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.text import word_pieces
from videobert_jax.text.tokenizer import Tokenizer

torch = pytest.importorskip("torch", reason='needs torch: pip install "videobert-jax[parity]"')
transformers = pytest.importorskip("transformers")
yaml = pytest.importorskip("yaml")

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "pytorch_towers.py"
OUTPUTS = {
    "encode_video": ("embeddings",),
    "encode_text": ("embeddings",),
    "encode_pair": ("fused_video", "fused_text", "pooled", "matching_logits"),
}


def example():
    spec = importlib.util.spec_from_file_location("pytorch_towers", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tiny_run, tmp_path) -> pathlib.Path:
    export.save_bundle(programs.bundle(tiny_run, "pre_norm"), tmp_path / "export")
    return tmp_path / "export"


@pytest.mark.parametrize("network", ["pre_norm", "post_norm", "shared", "towers"])
def test_plain_pytorch_encodes_as_the_package_does(tiny_run, tmp_path, network):
    torch.set_num_threads(1)
    bundle = programs.bundle(tiny_run, network)
    export.save_bundle(bundle, tmp_path / "export")
    towers, model = example().load(tmp_path / "export"), PretrainedModel(bundle)
    called, gave = programs.calls(model)[-3:], []
    with torch.inference_mode():
        for name, given in called:
            found = getattr(towers, name)(*map(torch.from_numpy, given.values()))
            found = found if isinstance(found, tuple) else (found,)
            gave.append(dict(zip(OUTPUTS[name], (each.numpy() for each in found), strict=True)))
    programs.assert_equal(model, called, gave)


def test_plain_pytorch_alone_gives_what_the_package_gives(tiny_run, folder):
    """In a process where neither this package nor jax can be imported."""
    model = PretrainedModel(programs.bundle(tiny_run, "pre_norm"))
    called = programs.calls(model)
    forbidden = ("videobert_jax", "jax", "jaxlib", "flax", "tensorflow", "onnx")
    gave = fresh.run(
        _ALONE.format(example=str(EXAMPLE), outputs=OUTPUTS), folder, called, forbidden
    )
    programs.assert_equal(model, called, gave)


_ALONE = """
import importlib.util, torch

spec = importlib.util.spec_from_file_location("pytorch_towers", {example!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
towers = module.load("DIR")

def function(name):
    def call(*given):
        with torch.inference_mode():
            found = getattr(towers, name)(*map(torch.from_numpy, given))
        found = found if isinstance(found, tuple) else (found,)
        return dict(zip({outputs!r}[name], found, strict=True))
    return call
"""


def test_the_example_is_a_program(folder):
    done = subprocess.run([sys.executable, EXAMPLE, folder], capture_output=True, text=True)
    assert done.returncode == 0 and "video [2, 16], text [2, 16]" in done.stdout, done.stderr


def test_the_example_refuses_what_it_cannot_read(folder, tiny_run, tmp_path):
    load, refused = example().load, example().ExportError
    with pytest.raises(ValueError, match=r"no export, it needs config\.json") as caught:
        load(tmp_path / "nowhere")
    assert type(caught.value).__name__ == refused.__name__
    config = json.loads((folder / "config.json").read_text())
    for fields, said in (
        ({**config, "format_version": 2}, "version 2, this file reads 1"),
        ({"model_type": "bert"}, "not the config of an export"),
    ):
        (folder / "config.json").write_text(json.dumps(fields))
        with pytest.raises(ValueError, match=said):
            load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="sha256 is not the one in config.json"):
        load(folder)
    export.save_bundle(programs.bundle(tiny_run, "bert"), tmp_path / "bert")
    with pytest.raises(ValueError, match="reads bert_vectors is not held here"):
        load(tmp_path / "bert")
    done = subprocess.run([sys.executable, EXAMPLE, folder], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ")


def test_transformers_reads_the_fields_of_the_config(folder, tiny_run):
    config, network = transformers.PretrainedConfig.from_pretrained(folder), tiny_run.model
    assert (config.hidden_size, config.num_attention_heads) == (
        network.embed_dim,
        network.num_heads,
    )
    assert config.l_layers == network.text.num_layers and config.hidden_act == network.activation


def test_others_split_texts_as_the_package_does(folder, tiny_run, tmp_path):
    text = "Now cut the onions, slowly!"
    bundle = programs.bundle(tiny_run, "pre_norm")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert pieces.encode(text) == Tokenizer(bundle.tokenizer_model).encode([text])[0]

    vocabulary = word_pieces.read_published(berts.write(tmp_path / "bert")).vocabulary
    bundle = dataclasses.replace(
        bundle, tokenizer_model=word_pieces.model_of(vocabulary, ["cut the egg"])
    )
    export.save_bundle(bundle, tmp_path / "word_pieces")
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path / "word_pieces")
    ours = Tokenizer(bundle.tokenizer_model)
    assert fast(text, add_special_tokens=False)["input_ids"] == ours.encode([text])[0]
    assert (fast.cls_token_id, fast.sep_token_id) == (ours.cls_id, ours.sep_id) == (2, 3)
    assert fast.model_max_length == bundle.maximum_pieces


def test_the_card_is_yaml_and_says_what_the_model_is(tiny_run):
    bundle = programs.bundle(tiny_run, "pre_norm")
    result = model_card.Result(
        task="retrieval",
        dataset='kitchen: "all"',
        split="test",
        setting="from_scratch",
        num_examples=238,
        metrics={"text_to_video_R1": 0.125},
        table="text_to_video_R1  12.5",
    )
    text = model_card.text(bundle, [result])
    _, front, body = text.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["library_name"] == "videobert_jax"
    (indexed,) = fields["model-index"][0]["results"]
    assert indexed["metrics"][0]["value"] == 0.125 and indexed["dataset"]["split"] == "test"
    assert indexed["dataset"]["name"] == 'kitchen: "all"'
    for said in (bundle.digest, "text_to_video_R1  12.5", bundle.contract.backbone, "238 examples"):
        assert said in body
    assert "2 videos" in body and "drawn in 2D" not in body
    drawn = {**bundle.trained_on["datasets"][0], "name": "kitchen"}
    trained_on = {**bundle.trained_on, "datasets": [drawn]}
    of_kitchen = dataclasses.replace(bundle, trained_on=trained_on)
    assert "says nothing about real cooking video" in model_card.text(of_kitchen, [])
