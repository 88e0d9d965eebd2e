import dataclasses
import json
import pathlib
import struct
import sys

import jax
import numpy as np
import pytest
import safetensors

from tests import bundles
from videobert_jax.export import formats, hugging_face, manifest, model_card, names
from videobert_jax.export import safetensors as export
from videobert_jax.files import extras
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import MASKED_VIDEO_HEADS, VisualWordsConfig
from videobert_jax.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def bundle(tiny_run) -> ModelBundle:
    return dataclasses.replace(bundles.tiny(tiny_run), weights="ema")


@pytest.fixture
def folder(bundle: ModelBundle, tmp_path: pathlib.Path) -> pathlib.Path:
    export.save_bundle(bundle, tmp_path / "export")
    return tmp_path / "export"


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("head", MASKED_VIDEO_HEADS)
def test_what_was_saved_is_loaded_bit_for_bit(tiny_run, tmp_path, head):
    words = VisualWordsConfig(branching=3, depth=2)
    network = dataclasses.replace(tiny_run.model, masked_video_head=head, visual_words=words)
    network = dataclasses.replace(network, answers=2, clip_labels=3)
    bundle = bundles.tiny(dataclasses.replace(tiny_run, model=network))
    bundle = dataclasses.replace(bundle, answers=("yes", "crème"), clip_labels=("1", "2", "9"))
    export.save_bundle(bundle, tmp_path / "export")
    loaded = export.load_bundle(tmp_path / "export")
    assert ("masked_video_head" in loaded.variables["constants"]) == (head == "visual_words")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, bundle.variables)
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(bundle.variables)
    for field in dataclasses.fields(ModelBundle):
        if field.name != "variables":
            assert getattr(loaded, field.name) == getattr(bundle, field.name), field.name


def test_an_export_older_than_averages_has_the_weights_as_they_were(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("weights") == "ema"
    (folder / "config.json").write_text(json.dumps(config))
    assert export.load_bundle(folder).weights == "raw"


def test_an_export_older_than_heads_with_lists_has_none(folder):
    config = json.loads((folder / "config.json").read_text())
    for head in ("answers", "clip_labels"):
        assert config.pop(head) == [] and config["model"].pop(head) == 0
    assert config["data"].pop("clip_labels") == ""
    (folder / "config.json").write_text(json.dumps(config))
    loaded = export.load_bundle(folder)
    assert loaded.answers == () and loaded.config.answers == 0
    assert loaded.clip_labels == () and loaded.config.clip_labels == 0


def test_an_export_says_what_captions_were_told_from_and_an_older_one_does_not(bundle, folder):
    read = dataclasses.replace(bundle, captioning_inputs="transcript")
    export.save_bundle(read, folder, force=True)
    assert export.load_bundle(folder).captioning_inputs == "transcript"
    config = json.loads((folder / "config.json").read_text())
    del config["captioning_inputs"]
    (folder / "config.json").write_text(json.dumps(config))
    assert export.load_bundle(folder).captioning_inputs is None


def test_other_readers_see_the_tensors_and_the_files_are_those_documented(bundle, folder):
    assert sorted(contents(folder)) == [
        "README.md",
        "config.json",
        "contract.json",
        "model.safetensors",
        "tokenizer.model",
        "tokenizer_config.json",
    ]
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"checkpoint_digest": bundle.digest}
        kernel = file.get_tensor("video_encoder.layers.1.feed_forward.expand.kernel")
    layers = bundle.variables["params"]["video_encoder"]["stack"]["layers"]["layer"]
    np.testing.assert_array_equal(kernel, layers["feed_forward"]["expand"]["kernel"][1])
    assert json.loads((folder / "contract.json").read_text()) == bundle.contract.to_json()


def test_the_same_again_changes_nothing_and_another_needs_force(bundle, folder, tiny_run):
    before = contents(folder)
    assert export.save_bundle(bundle, folder) == []
    other = dataclasses.replace(bundles.tiny(tiny_run, seed=1), step=40, digest="4" * 64)
    with pytest.raises(export.ExportError, match=r"another export \(step 20.*--force"):
        export.save_bundle(other, folder)
    assert contents(folder) == before
    assert export.save_bundle(other, folder, force=True)
    assert export.load_bundle(folder).step == 40
    assert [path.name for path in folder.parent.iterdir()] == ["export"]  # nothing is left behind


def test_a_folder_that_is_no_export_is_never_replaced(bundle, tmp_path):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(export.ExportError, match="is no export"):
            export.save_bundle(bundle, precious, force=force)
    assert (precious / "chapter1.tex").read_text() == "years of work"


def test_a_failed_export_leaves_nothing(bundle, tmp_path):
    unsayable = {**bundle.trained_on, "loss": float("nan")}
    broken = dataclasses.replace(bundle, trained_on=unsayable)
    with pytest.raises(ValueError, match="JSON"):
        export.save_bundle(broken, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "contract.json"])
def test_damage_is_found_before_anything_is_parsed(folder, name):
    file = folder / name
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    with pytest.raises(export.ExportError, match=rf"{name}: its sha256 is not"):
        export.load_bundle(folder)
    file.write_bytes(whole[:-1])
    with pytest.raises(export.ExportError, match=rf"{name}: \d+ bytes, expected"):
        export.load_bundle(folder)
    file.unlink()
    with pytest.raises(export.ExportError, match=rf"{name}: missing"):
        export.load_bundle(folder)


@pytest.mark.parametrize("files", [1e308, ["model.safetensors"], {"model.safetensors": 7}])
def test_files_of_another_form_are_named(folder, files):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "files": files}))
    for read in (export.load_bundle, export.verify):
        with pytest.raises(export.ExportError, match=r"config.json: files is .*expected the bytes"):
            read(folder)


@pytest.mark.parametrize("change", [{"functions": 7}, {"weights": {"file": 3}}])
def test_a_manifest_of_programs_of_another_form_is_named(tmp_path, change):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"")
    written = {
        "format": manifest.FORMAT,
        "format_version": manifest.FORMAT_VERSION,
        "weights": {"file": weights.name, **manifest.identity(weights)},
        "functions": {},
        **change,
    }
    (tmp_path / "stablehlo.json").write_text(json.dumps(written))
    with pytest.raises(export.ExportError, match="stablehlo.json: not of the form"):
        manifest.verify(tmp_path, "stablehlo")


def header_of(data: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def file_of(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_a_header_that_lies_is_refused_before_reading(folder):
    file = folder / "model.safetensors"
    header, body = header_of(file.read_bytes())
    name = "matching_head.score.bias"

    def changed(**fields) -> dict:
        return {**header, name: {**header[name], **fields}}

    start, end = header[name]["data_offsets"]
    damaged = {
        "longer than the file": struct.pack("<Q", 2**60) + b"{}",
        "too short": b"\x05",
        "not JSON": struct.pack("<Q", 4) + b"{{{{" + body,
        "shape": file_of(changed(shape=[2**40]), body),
        "offsets": file_of(changed(data_offsets=[start + 4, end + 4]), body),
        "dtype": file_of(changed(dtype="F13"), body),
        "tail": file_of(header, body + b"\0\0\0\0"),
        "list": file_of({name: [1, 2]}, body),
    }
    assert name in export.read_tensors(file)
    for case, data in damaged.items():
        file.write_bytes(data)
        with pytest.raises(export.ExportError, match="not a whole safetensors file"):
            export.read_tensors(file)
            pytest.fail(case)


def test_other_folders_are_named_with_the_remedy(tmp_path, folder):
    with pytest.raises(export.ExportError, match=r"config\.json is missing; make one with"):
        export.load_bundle(tmp_path / "nowhere")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(export.ExportError, match="workdir of a run, expected an export"):
        export.load_bundle(tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    newer = "version 2 of the format, newer than the 1 .* install a newer videobert-jax"
    with pytest.raises(export.ExportError, match=newer):
        export.load_bundle(folder)
    (folder / "config.json").write_text(json.dumps({**config, "format": "thesis"}))
    with pytest.raises(export.ExportError, match="'thesis' version 1, expected .*; export the"):
        export.load_bundle(folder)


def test_statistics_of_another_dimension_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["statistics"]["mean"].pop()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(export.ExportError, match=r"statistics\.mean has 23 values, expected 24"):
        export.load_bundle(folder)


def test_what_others_put_into_an_export_is_never_deleted(bundle, folder, tiny_run):
    (folder / "notes.txt").write_text("mine")
    other = bundles.tiny(tiny_run, seed=1)
    with pytest.raises(export.ExportError, match=r"holds notes.txt, which no export wrote"):
        export.save_bundle(other, folder, force=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert export.load_bundle(folder).digest == bundle.digest


def test_other_readers_find_the_sizes_by_their_names(bundle, folder):
    config, network = json.loads((folder / "config.json").read_text()), bundle.config
    assert config["model_type"] == "videobert" and config["architectures"] == ["VideoBert"]
    shapes = {
        name: values.shape
        for name, values in export.read_tensors(folder / "model.safetensors").items()
    }
    assert (config["vocab_size"], config["hidden_size"]) == shapes["text_embedding.pieces"]
    assert config["max_position_embeddings"] == shapes["text_embedding.positions"][0]
    layer = "video_encoder.layers.0"
    assert config["intermediate_size"] == shapes[f"{layer}.feed_forward.expand.bias"][0]
    assert config["num_attention_heads"] == shapes[f"{layer}.attention.query.bias"][0]
    assert config["visual_feat_dim"] == shapes["video_embedding.project.kernel"][0]
    assert config["projection_dim"] == shapes["joint_head.text.kernel"][1]
    for field, stack in (("l_layers", "text"), ("r_layers", "video"), ("x_layers", "cross")):
        layers = {
            name.split(".")[2] for name in shapes if name.startswith(f"{stack}_encoder.layers.")
        }
        assert config[field] == len(layers)
    assert (config["hidden_act"], config["layer_norm_eps"]) == ("gelu", network.norm_epsilon)
    tokens = json.loads((folder / "tokenizer_config.json").read_text())
    names = Tokenizer(bundle.tokenizer_model).pieces
    for token in ("pad", "unk", "cls", "sep", "mask"):
        assert names[config[f"{token}_token_id"]] == tokens[f"{token}_token"]


def test_an_older_export_without_their_names_is_read_and_an_edited_one_is_not(bundle, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(export.ExportError, match=r"hidden_size is 64, but by its `model` it is 32"):
        export.load_bundle(folder)
    older = {
        name: value
        for name, value in config.items()
        if name not in hugging_face.config_fields(bundle.config)
    }
    older["files"].pop("tokenizer_config.json")
    (folder / "config.json").write_text(json.dumps(older))
    for name in ("README.md", "tokenizer_config.json"):
        (folder / name).unlink()
    assert export.load_bundle(folder).digest == bundle.digest
    assert export.verify(folder) == []


@pytest.mark.parametrize("older", [False, True])
def test_settings_that_are_not_those_of_the_weights_are_refused(folder, older):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["joint_dim"] += 1
    config["projection_dim"] += 1
    if older:  # than the digest of both
        del config["network"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(export.ExportError, match=r"joint_head\.text\.kernel is float32\[32, 16\]"):
        export.load_bundle(folder)


def test_loading_traces_no_network_that_was_compared_when_it_was_written(folder, monkeypatch):
    def trace(config):
        raise AssertionError("traced")

    monkeypatch.setattr(names, "variable_structs", trace)
    monkeypatch.setattr(names, "_expected", trace)
    export.load_bundle(folder)


def test_weights_that_are_not_the_networks_are_not_written(bundle, tmp_path):
    params = {**bundle.variables["params"], "pooler": {}}
    variables = {**bundle.variables, "params": params}
    with pytest.raises(names.NamesError, match="the bundle of tiny: .* pooler.project.bias is mi"):
        export.save_bundle(dataclasses.replace(bundle, variables=variables), tmp_path / "export")
    assert not list(tmp_path.iterdir())


def test_a_card_that_is_there_stays_unless_forced(bundle, folder):
    (folder / "README.md").write_text("my words")
    assert export.save_bundle(bundle, folder) == []
    assert (folder / "README.md").read_text() == "my words"
    assert export.load_bundle(folder).digest == bundle.digest
    assert export.save_bundle(bundle, folder, force=True) == ["README.md"]
    assert (folder / "README.md").read_text() == model_card.text(bundle, ())


@pytest.mark.long
def test_programs_are_added_checked_and_go_with_another_export(bundle, folder, tiny_run):
    files = list(formats.files_of("stablehlo"))
    before = contents(folder)
    assert export.save_bundle(bundle, folder, formats=("stablehlo",)) == files
    assert {name: data for name, data in contents(folder).items() if name not in files} == before
    assert export.save_bundle(bundle, folder, formats=("stablehlo",)) == []
    assert export.save_bundle(bundle, folder) == [] and export.verify(folder) == []

    program = folder / "encode_text.stablehlo"
    program.write_bytes(program.read_bytes()[:-1] + b"!")
    (wrong,) = export.verify(folder)
    assert "encode_text.stablehlo: its sha256 is not the one in stablehlo.json" in wrong
    listed = json.loads((folder / "stablehlo.json").read_text())
    (folder / "stablehlo.json").write_text(json.dumps({**listed, "format_version": 2}))
    (wrong,) = export.verify(folder)
    assert "stablehlo.json: version 2 of the format, newer" in wrong
    (folder / "stablehlo.json").unlink()
    (wrong,) = export.verify(folder)
    assert "stablehlo.json: missing; write it with" in wrong
    assert export.save_bundle(bundle, folder, formats=("stablehlo",)) == [files[1], files[-1]]
    assert export.verify(folder) == []

    other = dataclasses.replace(bundles.tiny(tiny_run, seed=1), digest="4" * 64)
    export.save_bundle(other, folder, force=True)
    assert sorted(contents(folder)) == sorted(before)


def test_the_manifest_says_what_the_programs_take_and_what_they_lack(bundle, tmp_path):
    export.save_bundle(bundle, tmp_path / "export", formats=("stablehlo",))
    manifest = json.loads((tmp_path / "export" / "stablehlo.json").read_text())
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    pair = manifest["functions"]["encode_pair"]
    assert [(each["name"], each["shape"], each["dtype"]) for each in pair["inputs"]] == [
        ("features", ["b", "v", 24], "float32"),
        ("num_clips", ["b"], "int32"),
        ("ids", ["b", "t"], "int32"),
        ("num_pieces", ["b"], "int32"),
    ]
    assert [each["name"] for each in pair["outputs"]][-1] == "matching_logits"
    tensors = export.read_tensors(tmp_path / "export" / "model.safetensors")
    assert set(pair["parameters"]) <= set(tensors)
    video = manifest["functions"]["encode_video"]["parameters"]
    assert not [name for name in video if name.startswith(("text_", "cross_", "decoder"))]
    lacks = " ".join(manifest["not_carried"])
    assert all(word in lacks for word in ("tokenizer", "captions", "clip features"))


@pytest.mark.parametrize("text", ["gguf", "safetensors,gguf", ""])
def test_an_unknown_format_is_named(text):
    with pytest.raises(export.ExportError, match=r"is none of safetensors, stablehlo, onnx; say"):
        formats.parse(text)
    assert formats.parse("onnx, safetensors,onnx") == ("onnx", "safetensors")


def test_a_missing_extra_leaves_nothing_and_says_its_install_line(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(extras.MissingExtra, match=r'pip install "videobert-jax\[onnx\]"'):
        export.save_bundle(bundle, tmp_path / "export", formats=("stablehlo", "onnx"))
    assert list(tmp_path.iterdir()) == []
