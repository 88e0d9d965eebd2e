"""`videobert index` and `videobert search`: from video files to moments, and what they refuse."""

import dataclasses
import fractions
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from tests import bundles, fakes
from tests.video.test_extract import BACKBONE, SETTINGS
from videobert_jax import loading
from videobert_jax.cli import main, search
from videobert_jax.export import safetensors
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.video import decode, extract
from videobert_jax.weights import backbones

pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")
MIXING = np.random.default_rng(0).normal(size=(2, fakes.FEATURE_DIM)).astype(np.float32)


def mixed(variables, frames):
    features, _ = BACKBONE.apply(variables, frames)
    return jnp.tanh(features / 60 @ MIXING), features


BACKBONE_OF_24 = dataclasses.replace(BACKBONE, dim=fakes.FEATURE_DIM, apply=mixed)
EXTRACTOR = extract.ClipExtractor(BACKBONE_OF_24, SETTINGS)  # clips of 0.4 s


def run(*words) -> int:
    return main.main([*map(str, words), "--platform=cpu"])


@pytest.fixture
def export(tiny_run, tmp_path, monkeypatch):
    """The folder of a model whose features the stand-in backbone makes."""
    monkeypatch.setattr(backbones, "load_backbone", lambda name, file: (BACKBONE_OF_24, SETTINGS))
    bundle = dataclasses.replace(bundles.tiny(tiny_run), contract=EXTRACTOR.contract)
    safetensors.save_bundle(bundle, tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        levels = np.random.default_rng(number).integers(0, 250, size=80)
        frames = [np.full((16, 16, 3), level, np.uint8) for level in levels]
        decode.write_frames(folder / f"film_{number}.mp4", frames, 10)
    return folder


def answers(capsys, *words):
    capsys.readouterr()
    assert run("search", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_videos_are_indexed_and_their_moments_found(export, videos, tmp_path, capsys):
    (videos / "broken.mp4").write_text("no video")
    index = tmp_path / "index"
    words = (f"--checkpoint={export}", f"--output={index}", "--window=1.6", "--hop=0.8")
    assert run("index", videos, *words) == 1
    said = capsys.readouterr()
    assert "27 segments, exact; files: 3 new, 1 left out" in said.out
    assert f"  left out: {videos / 'broken.mp4'} cannot be opened" in said.out
    assert "4 files: 0 are indexed, 4 to embed" in said.err
    (videos / "broken.mp4").unlink()
    assert run("index", videos, *words) == 0
    assert "files: 3 unchanged" in capsys.readouterr().out
    # Every window by hand: four clips, two apart, of 20 a film.
    model, text = PretrainedModel(safetensors.load_bundle(export)), "cut the onion"
    expected = []
    for film in sorted(videos.iterdir()):
        features = EXTRACTOR.video_features(film).astype(np.float32)
        cosines = model.similarity([features[at : at + 4] for at in range(0, 17, 2)], text)[:, 0]
        expected += [(float(c), str(film), 0.8 * n) for n, c in enumerate(cosines)]
    expected.sort(reverse=True)
    found = answers(capsys, text, f"--index={index}", "--top_k=27", "--merge=1")
    for hit, wanted in zip(found, expected, strict=True):
        assert abs(hit["score"] - wanted[0]) < 2e-3
        assert abs(hit["end"] - hit["start"] - 1.6) < 1e-6
    assert {(h["file"], round(h["start"], 1)) for h in found[:5]} == {
        (film, round(start, 1)) for _, film, start in expected[:5]
    }
    assert run("search", text, f"--index={index}", "--top-k=2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].endswith(found[0]["file"])
    assert search.clock(found[0]["start"]) in lines[0] and f"{found[0]['score']:.3f}" in lines[0]


def test_without_options_the_model_of_make_pretrain_is_taken(
    export, videos, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIDEOBERT_CHECKPOINT", raising=False)
    assert run("index", "videos") == 2
    assert "runs/kitchen is not there; give --checkpoint=" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    export.rename(tmp_path / "runs/kitchen")
    assert run("index", "videos") == 0
    assert "model: runs/kitchen (--checkpoint names another)" in capsys.readouterr().err
    assert (tmp_path / "runs/index/index.json").is_file()
    assert answers(capsys, "cut the onion", "--top-k=1")[0]["file"].startswith(str(videos))
    monkeypatch.setenv("VIDEOBERT_CHECKPOINT", "elsewhere")
    assert run("index", "videos", "--index=other") == 2
    assert "elsewhere: expected a workdir" in capsys.readouterr().err


@pytest.mark.long
def test_hostile_films_are_left_out_and_the_others_indexed(export, videos, tmp_path, capsys):
    """One of five hours, of 80 pictures, which its default refuses; one with sound alone; none."""
    import av

    pictures = [np.full((16, 16, 3), level, np.uint8) for level in range(80)]
    decode.write_frames(videos / "long.mp4", pictures, fractions.Fraction(80, 5 * 3600))
    with av.open(str(videos / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 16_000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    (videos / "text.mp4").write_text("no film")
    words = (f"--checkpoint={export}", f"--index={tmp_path / 'index'}")
    assert run("index", videos, *words) == 1
    said = capsys.readouterr().out
    assert "3 new, 3 left out" in said
    assert "long.mp4 lasts 18,000 s; expected 14,400 s at most: cut it, or say --max-sec" in said
    assert "sound.mp4 has no" in said and "text.mp4 cannot be opened" in said
    assert run("index", videos, *words, "--max-seconds=20000") == 1
    assert "1 new, 3 unchanged, 2 left out" in capsys.readouterr().out


def test_files_are_added_taken_out_and_rebuilt(export, videos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index = tmp_path / "index"
    assert run("index", "add", videos, f"--index={index}", f"--checkpoint={export}") == 2
    assert "holds no search index" in capsys.readouterr().err
    assert run("index", videos / "film_0.mp4", f"--index={index}") == 2
    assert "no model is named" in capsys.readouterr().err
    assert run("index", videos / "film_0.mp4", f"--index={index}", f"--checkpoint={export}") == 0
    assert run("index", "add", videos, f"--index={index}") == 0
    assert "files: 2 new, 1 unchanged" in capsys.readouterr().out
    assert run("index", "remove", videos / "film_1.mp4", f"--index={index}") == 0
    assert "1 dropped" in capsys.readouterr().out
    assert run("index", "rebuild", f"--index={index}", "--kind=approximate") == 0
    assert "approximate; files: 2 unchanged" in capsys.readouterr().out
    found = answers(capsys, "cut the onion", f"--index={index}", "--top-k=50", "--probes=4")
    assert {hit["file"] for hit in found} == {str(videos / f"film_{n}.mp4") for n in (0, 2)}
    (videos / "film_0.mp4").unlink()
    assert run("index", videos, f"--index={index}") == 0
    assert "1 indexed files are not there any more; --prune" in capsys.readouterr().out
    for words in (("rebuild", videos), ("add",), ("remove",)):
        assert run("index", *words, f"--index={index}") == 2
    assert "rebuild takes none, all others one or more" in capsys.readouterr().err


def test_a_run_is_found_again_at_the_step_that_made_the_index(tmp_path, monkeypatch, tiny_run):
    bundle = bundles.tiny(tiny_run)
    monkeypatch.setattr(loading, "load_bundle", lambda name: bundle)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in ("run", "run@best", "run@20"):
        _, found = search.load_model(None, str(tmp_path / name), "cpu")
        assert found == f"{tmp_path / 'run'}@20"


def test_a_model_that_is_gone_or_another_is_refused(export, videos, tmp_path, capsys, monkeypatch):
    index = tmp_path / "index"
    assert run("index", videos, f"--index={index}", f"--checkpoint={export}") == 0
    export.rename(tmp_path / "moved")
    assert run("search", "cut the onion", f"--index={index}") == 2
    assert "which is not where it was" in capsys.readouterr().err
    assert answers(capsys, "cut", f"--index={index}", f"--checkpoint={tmp_path / 'moved'}")
    other = dataclasses.replace(safetensors.load_bundle(tmp_path / "moved"), digest="5" * 64)
    monkeypatch.setattr(loading, "load_bundle", lambda name: other)
    assert run("search", "cut", f"--index={index}", "--checkpoint=other") == 2
    assert "their vectors cannot be compared" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert run("search", "cut", f"--index={index}", "--checkpoint=other") == 2
    assert 'pip install "videobert-jax[search]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (754.25, "12:34.2"), (3723.4, "1:02:03.4")],
)
def test_times_are_told_as_on_a_player(seconds, told):
    assert search.clock(seconds) == told
