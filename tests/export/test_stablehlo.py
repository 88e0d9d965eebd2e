import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.export import fresh, programs
from videobert_jax.export import safetensors as export
from videobert_jax.inference.model import PretrainedModel

FORMATS = ("stablehlo",)


@pytest.fixture(scope="module")
def model(tiny_run) -> PretrainedModel:
    return PretrainedModel(programs.bundle(tiny_run, "pre_norm"))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stablehlo") / "export"
    export.save_bundle(model.bundle, folder, formats=FORMATS)
    return folder


def test_jax_alone_gives_what_the_package_gives(model, folder):
    called = programs.calls(model)
    forbidden = ("videobert_jax", "flax", "tensorflow", "torch", "onnx")
    gave = fresh.run(fresh.shown("StableHLO"), folder, called, forbidden)
    programs.assert_equal(model, called, gave)


def function(folder, name):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    about = json.loads((folder / "stablehlo.json").read_text())["functions"][name]
    program = jax.export.deserialize(bytearray((folder / f"{name}.stablehlo").read_bytes()))
    weights = {key: tensors[key] for key in about["parameters"]}
    return lambda *inputs: program.call(weights, *inputs)


@pytest.mark.long
@pytest.mark.parametrize("network", ["bfloat16", "bert"])  # test_onnx.py goes through all
def test_other_networks_are_held_too(tiny_run, tmp_path, network):
    bundle = programs.bundle(tiny_run, network)
    export.save_bundle(bundle, tmp_path / "export", formats=FORMATS)
    in_float32 = dataclasses.replace(bundle.config, compute_dtype="float32")
    model = PretrainedModel(dataclasses.replace(bundle, config=in_float32))
    called = programs.calls(model)[-3:]
    gave = [
        {
            key: np.asarray(value)
            for key, value in function(tmp_path / "export", name)(*given.values()).items()
        }
        for name, given in called
    ]
    programs.assert_equal(model, called, gave)


def test_one_program_is_for_every_platform_and_tells_nothing_of_the_machine(folder):
    for name in ("encode_video", "encode_text", "encode_pair"):
        data = (folder / f"{name}.stablehlo").read_bytes()
        program = jax.export.deserialize(bytearray(data))
        assert program.platforms == ("cpu", "cuda", "tpu")
        assert b".py" not in data and b"/" + __file__.split("/")[1].encode() + b"/" not in data


def test_longer_inputs_than_in_training_are_refused(model, folder):
    given = programs.inputs(model, (model.maximum_clips + 1,), 0)
    with pytest.raises(ValueError, match="refining shapes"):  # its cause names the limit
        function(folder, "encode_video")(given["features"], given["num_clips"])
    given = programs.inputs(model, (model.maximum_clips,), 0)
    assert function(folder, "encode_video")(given["features"], given["num_clips"])


def test_equal_exports_are_equal_files(model, folder, tmp_path):
    export.save_bundle(model.bundle, tmp_path / "again", formats=FORMATS)
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
