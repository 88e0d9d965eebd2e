"""The command on a tiny dataset: a folder that other commands take as clip features."""

import numpy as np
import pytest

from tests import bundles
from videobert_jax.cli import main
from videobert_jax.data import importers, index
from videobert_jax.export import safetensors


@pytest.fixture(scope="module")
def export(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("states") / "export"
    safetensors.save_bundle(bundles.tiny(tiny_run), path, force=False)
    return path


def run(*words) -> int:
    return main.main([str(word) for word in words])


def test_what_is_written_is_imported_again(export, tiny_dataset, tmp_path, capsys):
    states, again = tmp_path / "states", tmp_path / "again"
    words = ("encode", "--checkpoint", export, "--dataset", tiny_dataset, "--platform", "cpu")
    assert run(*words, "--split", "validation", "--output", states) == 0
    printed = capsys.readouterr().out
    width = np.load(next(states.glob("*.npy"))).shape[1]
    assert f"files, {width} dimensions, of tiny step 20 (raw weights)" in printed
    split = index.open_dataset(tiny_dataset).split("validation")
    assert run("import-features", "--layout", "npy", "--features", states, "--output", again) == 0
    source = importers.open_source("npy", again)
    with_clips = [v for v, n in zip(split.videos, split.num_clips, strict=True) if n]
    assert source.names == sorted(with_clips)
    for name, clips in zip(split.videos, split.num_clips.tolist(), strict=True):
        if clips:
            found = source.features(name)
            np.testing.assert_array_equal(found, np.load(states / f"{name}.npy"))
            assert found.shape == (clips, width)
    contract = source.contract
    assert contract.dim == width and contract.weights_sha256 == "3" * 64
    assert contract.stride_seconds == split.contract.stride_seconds
    assert contract.backbone == "videobert_jax over random" and "no text" in contract.layer
    assert run(*words, "--split", "validation", "--output", states, "--template", "[MASK] it") == 2
    assert "made otherwise: template=None, not '[MASK] it'" in capsys.readouterr().err
    assert (
        run(*words, "--split", "validation", "--output", tmp_path / "b", "--template", "paper") == 2
    )
    assert (
        "now let's [MASK] the [MASK] to the [MASK], and then" in capsys.readouterr().err
    )  # too long
