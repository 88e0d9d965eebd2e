import dataclasses
import json
import pathlib
import struct

import jax
import numpy as np
import pytest
import safetensors

from tests import bundles
from videobert_jax.export import safetensors as export
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import MASKED_VIDEO_HEADS, VisualWordsConfig


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
        "config.json",
        "contract.json",
        "model.safetensors",
        "tokenizer.model",
    ]
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"checkpoint_digest": bundle.digest}
        kernel = file.get_tensor("video_encoder.layers.1.feed_forward.expand.kernel")
    layers = bundle.variables["params"]["video_encoder"]["stack"]["layers"]["layer"]
    np.testing.assert_array_equal(kernel, layers["feed_forward"]["expand"]["kernel"][1])
    assert json.loads((folder / "contract.json").read_text()) == bundle.contract.to_json()


def test_the_same_again_changes_nothing_and_another_needs_force(bundle, folder, tiny_run):
    before = contents(folder)
    assert export.save_bundle(bundle, folder) is False
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
    broken = dataclasses.replace(bundle, trained_on={"loss": float("nan")})
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
    with pytest.raises(export.ExportError, match="version 2, expected .* version 1"):
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
