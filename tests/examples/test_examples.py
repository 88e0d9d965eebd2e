"""Examples that stand alone run as they are, and print what the model says."""

import dataclasses
import json
import pathlib
import runpy
import sys

import numpy as np
import pytest

import videobert_jax
from tests import bundles, fakes
from videobert_jax.export import safetensors

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def test_sentences_are_compared_with_a_video_and_its_seconds(
    tiny_run, tmp_path, monkeypatch, capsys
):
    contract = dataclasses.replace(fakes.CONTRACT, stride_seconds=1.0)
    made = dataclasses.replace(bundles.tiny(tiny_run), contract=contract)
    safetensors.save_bundle(made, tmp_path / "export")
    (tmp_path / "contract.json").write_text(json.dumps(contract.to_json()))
    features = np.random.default_rng(0).normal(size=(7, fakes.FEATURE_DIM)).astype(np.float32)
    np.save(tmp_path / "film.npy", features)
    sentences = ["cut the onion", "pour the milk"]
    words = [str(tmp_path / "export"), str(tmp_path / "film.npy"), *sentences]
    monkeypatch.setattr(sys, "argv", ["encode_and_compare.py", *words])
    runpy.run_path(str(EXAMPLES / "encode_and_compare.py"), run_name="__main__")
    _, *lines = capsys.readouterr().out.splitlines()
    model = videobert_jax.load(tmp_path / "export")
    cosines = np.ravel(model.similarity(words[1], sentences))
    for line, sentence, cosine in zip(lines, sentences, cosines, strict=True):
        told = line.split()
        assert line.endswith(sentence) and float(told[0]) == pytest.approx(cosine, abs=1e-3)
        (moment,) = model.localize(words[1], [sentence])
        assert int(told[1]) == moment.seconds[0]
        assert float(told[3]) == pytest.approx(moment.scores[0], abs=1e-3)
