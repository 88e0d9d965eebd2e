"""`transcripts`: folders and files of many videos become sentences; what is left out is told, and a
stopped run goes on."""

import json
import pathlib
import sys

import pytest

from tests.text.transcripts.test_reading import COLUMNS, FORMS
from tests.video import speech, subtitled
from videobert_jax.cli import main
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import sentence_folder

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"


def run(*words) -> int:
    return main.main(["transcripts", *(str(word) for word in words)])


def failures(folder: pathlib.Path) -> list[tuple[str, str]]:
    log = folder / sentence_folder.FAILURES_FILE
    lines = log.read_text().splitlines() if log.exists() else []
    return [(entry["video"], entry["reason"]) for entry in map(json.loads, lines)]


def texts(file: pathlib.Path) -> list[str]:
    found = transcripts.read_transcript(file)
    assert found.are_sentences
    return [cue.text for cue in found.cues]


def test_every_form_in_a_folder_becomes_sentences(tmp_path, capsys):
    said, output = tmp_path / "said", tmp_path / "said" / "sentences"
    said.mkdir()
    for form, content in FORMS.items():
        (said / f"{form.replace('.', '_')}.{form.split('.')[-1]}").write_text(content)
    (said / "broken.vtt").write_text("no transcript")
    (said / "x.info.json").write_text('{"title": "what a downloader writes beside its captions"}')
    assert run("--input", said, "--output", output) == 1
    assert "7 videos, 0 there already, 2 failed" in capsys.readouterr().out
    names = sorted(path.stem for path in output.glob("*.vtt"))
    # JSON of many videos, here of one, names them itself.
    assert names == sorted(
        [*(f.replace(".", "_") for f in FORMS if f != "one.json"), "dQw4w9WgXcQ"]
    )
    for name in names:
        assert " ".join(texts(output / f"{name}.vtt")) == "cut the onion stir & wait done"
    assert dict(failures(output)).keys() == {"broken", "x.info"}
    assert run("--input", said, "--output", output) == 1
    assert "0 sentences of 0 videos, 7 there already, 2 failed" in capsys.readouterr().out
    assert len(failures(output)) == 2  # not told twice


def captions(folder: pathlib.Path) -> pathlib.Path:
    content: dict = {f"video{n:02d}": COLUMNS for n in range(30)}
    content["video03"] = {
        "start": [5, 1],
        "end": [2, 3],
        "text": ["turned", "now stir it all well"],
    }
    content["video04"] = ["no columns"]
    content["video05"] = {"start": [], "end": [], "text": []}
    content["../../video06"] = COLUMNS
    content["x" * 300] = COLUMNS
    content["\ud800"] = COLUMNS
    path = folder / "captions.json"
    path.write_text(json.dumps(content))
    return path


def test_a_file_of_many_videos_is_taken_apart(tmp_path, capsys):
    output = tmp_path / "out"
    assert run("--input", captions(tmp_path), "--output", output) == 1
    assert "28 videos, 0 there already, 4 failed" in capsys.readouterr().out
    assert len(list(output.glob("*.vtt"))) == 28 and len(list(tmp_path.rglob("*.vtt"))) == 28
    told = failures(output)
    assert ("video03", "captions.json: caption 0: from 5 to 2 s") in told
    reasons = " | ".join(reason for _, reason in told)
    for text in (
        "a list, expected lists",
        "nothing is said",
        "a second one",
        "200 bytes",
        "name of",
    ):
        assert text in reasons
    assert texts(output / "video03.vtt") == ["now stir it all well"]


def test_a_stopped_run_goes_on_and_tells_all(tmp_path, monkeypatch, capsys):
    source, output = captions(tmp_path), tmp_path / "out"
    add, taken = sentence_folder.SentenceFolder.add, []

    def stop_at_ten(self, video, *arguments, **options):
        taken.append(video)
        if len(taken) == 10:
            raise KeyboardInterrupt
        add(self, video, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sentence_folder.SentenceFolder, "add", stop_at_ten)
        assert run("--input", source, "--output", output) == 130
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.vtt")}
    assert len(before) == 7
    with open(output / sentence_folder.FAILURES_FILE, "a") as log:
        log.write('{"video": "cut o')  # as a crash may leave it
    capsys.readouterr()
    assert run("--input", source, "--output", output) == 1
    assert "21 videos, 7 there already, 4 failed" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert run("--input", source, "--output", tmp_path / "whole") == 1
    files = sorted(path.name for path in output.glob("*.vtt"))
    assert files == sorted(path.name for path in (tmp_path / "whole").glob("*.vtt"))
    unlike = {"a second one of it; the first was taken"}
    said = [
        {f for f in failures(d) if f[1][15:] not in unlike} for d in (output, tmp_path / "whole")
    ]
    assert said[0] == said[1]


def test_a_cut_off_file_keeps_what_was_read(tmp_path, capsys):
    source, output = captions(tmp_path), tmp_path / "out"
    source.write_text(source.read_text()[:2000])
    assert run("--input", source, "--output", output) == 1
    assert 3 < len(list(output.glob("*.vtt"))) < 28
    assert any(v == "captions.json" and "no whole JSON" in r for v, r in failures(output))


def test_files_of_several_languages_are_chosen_among(tmp_path, capsys):
    said = tmp_path / "said"
    said.mkdir()
    for language in ("en", "de-orig"):
        text = FORMS["vtt"].replace("done", f"said in {language}")
        (said / f"x.{language}.vtt").write_text(text)
    assert run("--input", said, "--output", tmp_path / "none") == 1
    assert "keep one of them, or say --language" in failures(tmp_path / "none")[0][1]
    assert run("--input", said, "--output", tmp_path / "de", "--language", "deu") == 0
    assert "said in de-orig" in " ".join(texts(tmp_path / "de" / "x.vtt"))
    assert run("--input", said, "--output", tmp_path / "fr", "--language", "fr") == 1
    assert "none of them is in fr" in failures(tmp_path / "fr")[0][1]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"WEBVTT\n", b"{"])
def test_input_that_is_nothing_is_named(tmp_path, content, capsys):
    source = tmp_path / "x.vtt"
    if content is None:
        assert run("--input", source, "--output", tmp_path / "out") == 2
        assert "is not there; give --input" in capsys.readouterr().err
        assert run("--input", tmp_path, "--output", tmp_path / "out") == 2
        assert "neither transcripts nor videos" in capsys.readouterr().err
        return
    source.write_bytes(content)
    assert run("--input", source, "--output", tmp_path / "out") == 1
    assert [video for video, _ in failures(tmp_path / "out")] == ["x"]
    assert run("--input", source, "--output", source) == 2
    assert "is a file, expected a folder" in capsys.readouterr().err


def test_sentences_are_not_cut_anew_when_they_are_read(tmp_path):
    words = " ".join(f"word{n}" for n in range(100))
    cue = transcripts.Cue(0.0, 40.0, words)
    folder = sentence_folder.SentenceFolder(tmp_path)
    folder.add("x", transcripts.Transcript([cue]), "transcript", "x.srt")
    found = transcripts.read_transcript(folder.path("x"))
    again = sentence_folder.SentenceFolder(tmp_path / "again")
    again.add("x", found, "transcript", "x.vtt")
    assert len(found.cues) > 3
    assert again.path("x").read_text() == folder.path("x").read_text()
    repeated = [
        transcripts.Cue(n, n + 1.0, "stir it") for n in (0.0, 1.0, 2.0)
    ]  # said, not rolling on
    folder.add("y", transcripts.Transcript(repeated, [], True), "transcript", "y.vtt")
    assert transcripts.read_transcript(folder.path("y")).cues == repeated


@pytest.mark.long
def test_the_real_transcripts(tmp_path, capsys):
    timed, youtube = SHARED / "youcook2" / "timed_asr.csv", SHARED / "transcripts"
    if not (timed.is_file() and youtube.is_dir()):
        pytest.skip(f"{SHARED} is not there: real data is optional")
    assert run("--input", timed, "--output", tmp_path / "timed") == 0
    assert "353 videos, 0 there already, 0 failed" in capsys.readouterr().out
    assert (tmp_path / "timed" / "FHvZgt3ExDI.vtt").is_file()
    assert run("--input", youtube, "--output", tmp_path / "youtube") == 1  # .info.json is none
    assert sum(len(t.split()) for t in texts(tmp_path / "youtube" / "WAaKRUoY6Io.vtt")) == 642


@pytest.fixture
def films(tmp_path):
    """said.mkv with a transcript's file, track.mp4 and pictures.mkv with subtitles and sound,
    spoken.mkv with sound alone, silent.mkv, and broken.mkv."""
    pytest.importorskip("av", reason="PyAV is not installed")
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "said.en.vtt").write_text(FORMS["vtt"])
    plain = [(s, e, t.replace("<i>", "").replace("</i>", "")) for s, e, t in subtitled.SAID]
    pictures = subtitled.Track("dvd_subtitle", [(1, 2, b"\0\1\2")])
    subtitled.write(folder / "said.mkv", [subtitled.Track("subrip", [(1, 2, "not this")])])
    subtitled.write(folder / "track.mp4", [subtitled.Track("mov_text", plain)])
    subtitled.write(folder / "pictures.mkv", [pictures], sound="eng")
    subtitled.write(folder / "spoken.mkv", sound="eng")
    subtitled.write(folder / "silent.mkv")
    (folder / "broken.mkv").write_text("no video")
    return folder


def test_videos_without_a_file_are_read_by_their_tracks(films, tmp_path, capsys):
    output = tmp_path / "out"
    assert run("--input", films, "--output", output) == 1
    assert "of 2 videos, 0 there already, 4 failed" in capsys.readouterr().out
    for name in ("said", "track"):
        assert " ".join(texts(output / f"{name}.vtt")) == "cut the onion stir & wait done"
    told = dict(failures(output))
    assert "hold pictures" in told["pictures"] and "cannot be opened" in told["broken"]
    assert "say --transcribe" in told["spoken"] and "say --transcribe" in told["silent"]
    assert run("--input", films, "--output", tmp_path / "no", "--no-subtitle-tracks") == 1
    assert [path.stem for path in (tmp_path / "no").glob("*.vtt")] == ["said"]
    assert run("--input", films / "track.mp4", "--output", tmp_path / "one") == 0
    assert texts(tmp_path / "one" / "track.vtt") == texts(output / "track.vtt")


def test_speech_is_transcribed_once(films, tmp_path, monkeypatch, capsys):
    heard = [speech.segment((0.5, 0.8, " stir"), (0.8, 1.0, " it"), (1.0, 2.0, " well."))]
    package = speech.Package(heard)
    monkeypatch.setitem(sys.modules, "faster_whisper", package)
    output = tmp_path / "out"
    words = ("--input", films, "--output", output, "--transcribe", "small", "--language", "en")
    assert run(*words) == 1
    assert "of 4 videos, 0 there already, 2 failed" in capsys.readouterr().out
    assert len(package.loaded) == 1
    assert [pathlib.Path(path).name for path, _ in package.calls] == ["pictures.mkv", "spoken.mkv"]
    assert texts(output / "spoken.vtt") == ["stir it well."]
    assert "has no sound" in dict(failures(output))["silent"]
    assert any("hold pictures" in reason for _, reason in failures(output))  # though it was heard
    assert run(*words) == 1 and len(package.calls) == 2
    monkeypatch.setitem(sys.modules, "faster_whisper", speech.Package([]))
    assert run(*words[:3], tmp_path / "quiet", *words[4:]) == 1
    found = sentence_folder.SentenceFolder(tmp_path / "quiet")
    assert found.has("spoken") and "nothing is said" in dict(failures(found.folder))["spoken"]
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    assert run("--input", films, "--output", tmp_path / "x", "--transcribe", "small") == 2
    assert 'pip install "videobert-jax[transcribe]"' in capsys.readouterr().err
