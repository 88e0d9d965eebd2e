"""An installation without extras: applications run, other commands say what they need."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests import bundles, light
from videobert_jax.cli import main
from videobert_jax.export import safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIDES = ("text", "video")  # without layers they compile in less time


@pytest.fixture(scope="module")
def told(tiny_run, tmp_path_factory) -> dict[str, Any]:
    """What `tests/light.py` printed, of a process that may not open files in the locale's
    encoding either: Windows' is not UTF-8."""
    folder = tmp_path_factory.mktemp("light")
    model = tiny_run.model
    towers = {side: dataclasses.replace(getattr(model, side), num_layers=0) for side in SIDES}
    bundle = bundles.tiny(dataclasses.replace(tiny_run, model=dataclasses.replace(model, **towers)))
    safetensors.save_bundle(bundle, folder / "export")
    np.save(folder / "clips.npy", np.ones((4, bundle.contract.dim), np.float32))
    (folder / "contract.json").write_text(json.dumps(bundle.contract.to_json()))
    encodings = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning:videobert_jax"]
    done = subprocess.run(
        [sys.executable, *encodings, str(ROOT / "tests" / "light.py"), str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_applications_need_the_core_alone(told, tiny_run):
    joint = tiny_run.model.joint_dim
    (caption,), answer = told["calls"].pop("caption"), told["calls"].pop("answer")
    assert isinstance(caption, str) and answer in ("cut the onion", "pour the milk")
    assert told["calls"] == {
        "encode_video": [1, joint],
        "encode_text": [2, joint],
        "saved": True,
        "similarity": [1, 2],
        "match": [1],
        "localize": [2],
        "fill_mask": [3],
        "attention": 6,
    }
    assert "jax" in told["modules"] and not set(light.EXTRAS) & set(told["modules"])
    assert not set(light.POSIX) & set(told["modules"])


def test_commands_of_applications_run(told):
    code, out, err = told["caption"]
    assert code == 0, err
    assert out.count("\n") == 1
    code, out, err = told["help"]
    assert code == 0, err
    assert all(f"\n    {name}" in out for name in main.COMMANDS)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("prepare", "array_record", "train"),
        ("plan", "ml_collections", "train"),
        ("export", "onnx", "onnx"),
    ],
)
def test_other_commands_say_what_they_need(told, command, module, extra):
    code, _, err = told[command]
    assert code == 2 and "Traceback" not in err
    assert module in err and f'pip install "videobert-jax[{extra}]"' in err.splitlines()[-1]
