import json

import pytest

from videobert_jax.cli import main
from videobert_jax.text import transcripts

VTT = "WEBVTT\n\n00:01.000 --> 00:03.000\nfirst we peel the onion\n\n"


def run(source, output, *options) -> int:
    return main.main(["transcripts", f"--input={source}", f"--output={output}", *options])


def test_a_folder_becomes_sentences_and_a_second_start_writes_nothing(tmp_path, capsys):
    said = tmp_path / "said"
    said.mkdir()
    (said / "abcdefghijk.en.vtt").write_text(VTT + "00:05.000 --> 00:02.000\nno\n")
    (said / "lecture.srt").write_text("1\n00:00:00,500 --> 00:00:02,000\nThis is how it is done.\n")
    (said / "broken.json").write_text('{"segments": 3')
    assert run(said, tmp_path / "out") == 1  # one could not be read
    assert "2 of 3 videos written, 2 sentences" in capsys.readouterr().out
    written = transcripts.read_transcript(tmp_path / "out" / "abcdefghijk.vtt")
    assert [(c.start, c.end, c.text) for c in written.cues] == [(1, 3, "first we peel the onion")]
    told = (tmp_path / "out" / "failures.jsonl").read_text()
    lines = [json.loads(line) for line in told.splitlines()]
    assert {line["video"] for line in lines} == {"abcdefghijk", "broken"}
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").glob("*.vtt")}
    assert run(said, tmp_path / "out") == 1
    assert {f: f.stat().st_mtime_ns for f in before} == before
    assert (tmp_path / "out" / "failures.jsonl").read_text() == told


def test_a_file_of_many_videos(tmp_path, capsys):
    content = {
        name: {"start": [0, 3], "end": [2, 5], "text": [f"hello {name} and welcome", "cut it"]}
        for name in ("first", "../second")
    }
    (tmp_path / "caption.json").write_text(
        json.dumps({**content, "mute": {k: [] for k in content["first"]}})
    )
    assert run(tmp_path / "caption.json", tmp_path / "out", "--many") == 1
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["failures.jsonl", "first.vtt", "second.vtt"]
    assert "hello ../second" in (tmp_path / "out" / "second.vtt").read_text()
    assert "2 of 3 videos" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_is_not_there_is_said(tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / name, tmp_path / "out") == 2
    assert name in capsys.readouterr().err
