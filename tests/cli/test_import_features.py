import json

import numpy as np

from videobert_jax.cli import main
from videobert_jax.data import importers


def run(*words) -> int:
    return main.main([str(word) for word in ("import-features", *words)])


def test_features_are_written_with_their_contract_and_bad_ones_named(tmp_path, capsys):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    good = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    for name, values in (("a.mp4", good), ("b.mp4", good[:, :7]), ("v_ccccccccccc", good + 1)):
        np.save(source / f"{name}.npy", values)
    words = ("--layout", "frames", "--features", source, "--output", output, "--stride", 1)
    said = ("--normalised", "false", "--assert-contract", "backbone=clip_l14")
    assert run(*words) == 2 and "--normalised=true or false" in capsys.readouterr().err
    assert run(*words, *said) == 1
    assert "backbone is as you asserted it: clip_l14" in capsys.readouterr().out
    (failure,) = map(json.loads, (output / "failures.jsonl").read_text().splitlines())
    assert failure["video"] == "b" and "[5, 7]" in failure["reason"]
    read = importers.open_source("npy", output)
    assert read.names == ["a", "ccccccccccc"] and read.contract.backbone == "clip_l14"
    np.testing.assert_array_equal(read.features("a"), good.astype(np.float16))
    before = (output / "a.npy").stat().st_mtime_ns
    np.save(source / "b.mp4.npy", good)
    assert run(*words, *said) == 0 and not (output / "failures.jsonl").exists()
    assert "2 of 3 videos are there already" in capsys.readouterr().err
    assert (output / "a.npy").stat().st_mtime_ns == before and (output / "b.npy").is_file()
    assert run(*words, "--normalised", "false") == 2
    assert "of another contract" in capsys.readouterr().err
