"""The doctor on this installation, on wrong pairs, and where a device does not answer."""

import dataclasses

import numpy as np
import pytest

from tests import bundles
from videobert_jax.cli import doctor, main
from videobert_jax.data import segments
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.export import safetensors


@pytest.fixture(scope="module")
def export(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor") / "export"
    safetensors.save_bundle(bundles.tiny(tiny_run), folder)
    return folder


def contract_of(export):
    return safetensors.load_bundle(export).contract


def write(path, contract):
    writer = DatasetWriter(path, "tiny", contract)
    features = np.ones((4, contract.dim), np.float16)
    writer.add_video("train", "a", features, [segments.Segment(0.0, 2.0, "cut it")])
    return writer.finish()


def test_a_sound_installation_and_a_pair_that_fits(export, tmp_path, capsys):
    contract = contract_of(export)
    dataset = write(tmp_path / "set", contract)
    words = ["doctor", "--dataset", str(dataset.path), "--checkpoint", str(export)]
    code = main.main(words)
    printed = capsys.readouterr().out
    assert code == 0 and "nothing is wrong" in printed
    for text in ("Python 3.", "jax ", "devices: ", "extra kitchen", "GiB free", "made alike"):
        assert text in printed


def test_a_wrong_pair_and_a_damaged_dataset_are_told(export, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_devices", lambda python: ("ok", "devices"))
    contract = dataclasses.replace(contract_of(export), stride_seconds=3.0)
    dataset = write(tmp_path / "set", contract)
    words = ["doctor", "--dataset", str(dataset.path), "--checkpoint", str(export)]
    assert main.main(words) == 1
    assert "stride_seconds" in capsys.readouterr().out
    text = dataset.path / "index" / "train" / "text.bin"
    text.write_bytes(b"CUT IT")
    (export / "model.safetensors").rename(tmp_path / "kept")
    try:
        assert main.main(words) == 1
    finally:
        (tmp_path / "kept").rename(export / "model.safetensors")
    printed = capsys.readouterr().out
    assert "text.bin: sha256" in printed and "model.safetensors: missing" in printed
    assert "2 wrong" in printed


def test_packages_and_devices_that_are_not_right(tmp_path, monkeypatch):
    lines = ["numpy>=99", "no-such-package>=1", "jax>=0.4", 'torch==1; extra == "parity"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: lines)
    found = list(doctor._packages())
    assert [state for state, _ in found] == ["WRONG", "WRONG", "ok"]
    assert 'pip install "numpy>=99"' in found[0][1]
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 30\n")
    python.chmod(0o755)
    monkeypatch.setattr(doctor, "_DEVICE_SECONDS", 0.5)
    assert doctor._devices(str(python)) == ("WRONG", "jax's devices did not answer for 0.5 s")
    python.write_text("#!/bin/sh\necho boom >&2\nexit 1\n")
    assert doctor._devices(str(python)) == ("WRONG", "jax finds no devices: boom")


def test_missing_extras_give_their_install_line(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    found = dict(zip(doctor._EXTRAS, doctor._extras(), strict=True))
    assert found["plots"] == (
        "note",
        'extra plots: matplotlib not installed; pip install "videobert-jax[plots]"',
    )
