"""`videobert reproduce`: a protocol in small, with a model that knows which clip is which."""

import json

import numpy as np
import pytest

pytest.importorskip("av", reason="PyAV is not installed")

from videobert_jax.cli import main
from videobert_jax.inference import search
from videobert_jax.video import decode

LINES = """end,start,task,text,video_id
2,1,226,level 1,first
4,3,226,level 3,first
3,2,101,level 22,second
1,0,101,level 90,absent
"""


class Model:
    """A text's vector names a brightness, a clip's is its own: the right one is the nearest."""

    weights_sha256 = "0" * 64

    def __init__(self):
        self.read = []

    def encode_text(self, texts):
        levels = np.array([float(text.split()[1]) for text in texts], np.float32)
        return np.stack([levels, np.ones_like(levels)], axis=1)

    def encode_segments(self, path, segments, windows):
        self.read.append(path.stem)
        if path.stem == "broken":
            raise decode.VideoError("broken cannot be decoded")
        first = {"first": 0, "second": 20}[path.stem]
        levels = np.array([first + start for start, _ in segments], np.float32)
        return np.stack([2 * levels, -(levels**2)], axis=1)  # a.b = t^2 - (t - level)^2


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Arguments of the command, and the model that it loads."""
    model = Model()
    monkeypatch.setattr(search, "load", lambda weights, vocabulary: model)
    (tmp_path / "segments.csv").write_text(LINES)
    (tmp_path / "words.npy").write_bytes(b"words")
    for name in ("226/first.mp4", "101/second.webm"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True)
        path.touch()
    arguments = ["reproduce", "milnce_youcook2", "--weights=weights.pth", "--platform=cpu"]
    arguments += [f"--vocabulary={tmp_path / 'words.npy'}", f"--output={tmp_path / 'output'}"]
    arguments += [f"--segments={tmp_path / 'segments.csv'}", f"--videos={tmp_path / 'videos'}"]
    return arguments, model


def result(tmp_path) -> dict:
    return json.loads((tmp_path / "output" / "result.json").read_text())


def test_ranks_are_over_the_clips_that_are_there(prepared, tmp_path, capsys):
    arguments, model = prepared
    assert main.main(arguments) == 2
    assert "1 of 3 videos are not in" in capsys.readouterr().err
    assert main.main([*arguments, "--allow-missing"]) == 0
    found = result(tmp_path)
    assert (found["expected"], found["evaluated"]) == (4, 3)
    assert found["missing_videos"] == ["absent"]
    assert found["metrics"]["text_to_video_R1"] == 1
    assert found["metrics_absent_as_misses"]["text_to_video_R1"] == 0.75
    assert "R@1 100.0, R@5 100.0" in capsys.readouterr().out
    text = LINES.replace("level 3", "level 23")
    (tmp_path / "segments.csv").write_text(text)
    other = [word.replace("/output", "/other") for word in arguments]
    assert main.main([*other, "--allow-missing"]) == 0
    found = json.loads((tmp_path / "other" / "result.json").read_text())
    assert found["metrics"]["text_to_video_R1"] == pytest.approx(2 / 3)


def test_a_stopped_run_goes_on_and_other_settings_do_not_mix(prepared, tmp_path, capsys):
    arguments, model = prepared
    assert main.main([*arguments, "--allow-missing"]) == 0
    (tmp_path / "output" / "vectors" / "second.npy").unlink()
    assert main.main([*arguments, "--allow-missing"]) == 0
    assert model.read == ["first", "second", "second"]
    assert main.main([*arguments, "--allow-missing", "--windows=4"]) == 2
    assert "other ['windows']" in capsys.readouterr().err


def test_a_video_that_fails_is_named_and_the_rest_is_measured(prepared, tmp_path):
    arguments, _ = prepared
    (tmp_path / "videos" / "broken.mp4").touch()
    (tmp_path / "segments.csv").write_text(LINES.replace("absent", "broken"))
    assert main.main(arguments) == 0
    found = result(tmp_path)
    assert found["failures"] == [{"video": "broken", "reason": "broken cannot be decoded"}]
    assert found["missing_videos"] == ["broken"] and found["evaluated"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,end,text\n1,2,a\n", "lacks the columns ['video_id']"),
        (LINES + "1,x,226,level 1,first\n", "line 6: could not convert"),
        (LINES + "1,2,226,level 1,first\n", "line 6"),
        (LINES + "nan,2,226,level 1,first\n", "line 6"),
        ("end,start,task,text,video_id\n", "no rows"),
    ],
)
def test_a_damaged_table_is_refused(prepared, tmp_path, capsys, text, message):
    arguments, _ = prepared
    (tmp_path / "segments.csv").write_text(text)
    assert main.main(arguments) == 2
    assert message in capsys.readouterr().err
