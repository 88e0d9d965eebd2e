"""What earlier versions wrote is read, and gives what it gave when it was made."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.golden import make
from videobert_jax.data import verify
from videobert_jax.export import safetensors
from videobert_jax.training import checkpoint_verification, loop, run_record

VERSIONS = sorted(path.parent for path in pathlib.Path(__file__).parent.glob("*/expected.json"))


def test_there_is_a_version_and_all_are_small():
    assert VERSIONS
    for version in VERSIONS:
        assert sum(path.stat().st_size for path in version.iterdir()) < make.LARGEST


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda path: path.name)
def version(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(folder of its files, what they gave)"""
    folder = tmp_path_factory.mktemp(request.param.name)
    make.unpack(request.param, folder)
    return folder, json.loads((request.param / "expected.json").read_text())


def test_a_dataset_is_read(version: tuple[pathlib.Path, dict[str, Any]]):
    folder, expected = version
    assert verify.verify_dataset(folder / "dataset").ok
    assert make.of_dataset(folder / "dataset") == expected["dataset"]


@pytest.mark.parametrize("part", ["run", "export"])
def test_a_checkpoint_and_an_export_give_what_they_gave(
    version: tuple[pathlib.Path, dict[str, Any]], part: str
):
    folder, expected = version
    if part == "run":
        assert checkpoint_verification.verify(folder / part).ok
    else:
        assert safetensors.verify(folder / part) == []
    found = make.outputs(folder / part)
    for name, values in expected[part].items():
        if isinstance(values, list):  # rounded, and from another CPU
            np.testing.assert_allclose(found[name], values, atol=1e-4)
        else:
            assert found[name] == values


def test_a_run_goes_on_at_its_step(version: tuple[pathlib.Path, dict[str, Any]], capsys):
    folder, expected = version
    config = run_record.read_settings(folder / "run")
    config["data"]["path"] = str(folder / "dataset")
    run_record.update_settings(folder / "run", config)
    run = run_record.run_config(folder / "run")  # with the settings that there are since
    result = loop.train(run, config, folder / "run", evaluators=(), stop=lambda step: True)
    assert (result.step, result.finished) == (expected["run"]["step"], False)
    assert f"continues at step {result.step} of 4" in capsys.readouterr().out


def test_a_version_is_never_made_anew():
    with pytest.raises(ValueError, match="is there already: .* never made anew. Raise videobert_j"):
        make.make(VERSIONS[0])
