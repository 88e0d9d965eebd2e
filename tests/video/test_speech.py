"""Speech by a stand-in for faster-whisper, whose interface is compared with the real one's where
that is installed; models cannot be fetched here."""

import inspect
import sys

import pytest

from tests.video import speech as stand_in
from tests.video import subtitled
from videobert_jax.files import extras
from videobert_jax.text.transcripts import TranscriptError, sentences
from videobert_jax.video import speech

pytest.importorskip("av", reason="PyAV is not installed")
HEARD = [
    stand_in.segment((0.5, 0.8, " So"), (0.8, 1.0, " well"), (1.0, 1.4, "-known,")),
    stand_in.segment(
        (1.5, 2.0, " we"), (2.0, 2.5, " cut"), (2.5, 3.0, " it."), (4.0, 5.0, " Done.")
    ),
]


@pytest.fixture
def install(monkeypatch):
    def put(*arguments) -> stand_in.Package:
        package = stand_in.Package(*arguments)
        monkeypatch.setitem(sys.modules, "faster_whisper", package)
        return package

    return put


def test_speech_becomes_cues_with_the_times_of_words(tmp_path, install):
    package = install(HEARD)
    film = subtitled.write(tmp_path / "x.mkv", sound="")
    found = speech.Recogniser("small", "eng").transcribe(film)
    assert package.loaded == [("small", "auto", "default")]
    assert package.calls == [(str(film), {"language": "en", "words": True, "vad": True})]
    assert [cue.text for cue in found.cues] == ["So well-known,", "we cut it. Done."]
    assert found.cues[0].words == ((0.5, "So"), (0.8, "well-known,"))
    (said,) = sentences.of_transcript(found)  # the second sentence is too short to stand alone
    assert (said.start, said.end, said.text) == (0.5, 5.0, "So well-known, we cut it. Done.")
    speech.Recogniser("small").transcribe(film)
    assert package.calls[1][1]["language"] is None  # the model tells it


def test_times_are_counted_from_the_first_picture(tmp_path, install):
    install(HEARD)
    film = subtitled.write(tmp_path / "x.mkv", sound="", delay=0.5)
    found = speech.Recogniser("small").transcribe(film)
    assert found.cues[0].start == pytest.approx(0.0, abs=0.1)
    assert found.cues[1].start == pytest.approx(1.0, abs=0.1)


def test_what_cannot_be_heard_is_told(tmp_path, install):
    install(HEARD)
    recogniser = speech.Recogniser("small")
    with pytest.raises(TranscriptError, match="has no sound; give a transcript's file"):
        recogniser.transcribe(subtitled.write(tmp_path / "silent.mkv"))
    (tmp_path / "broken.mkv").write_text("no video")
    with pytest.raises(TranscriptError, match="cannot be opened as video"):
        recogniser.transcribe(tmp_path / "broken.mkv")
    film = subtitled.write(tmp_path / "x.mkv", sound="")
    install([])
    assert speech.Recogniser("small").transcribe(film).cues == []
    for error in (IndexError("tuple index out of range"), RuntimeError("CUDA out of memory\nmore")):
        install(error)
        with pytest.raises(
            TranscriptError, match=r"sound cannot be transcribed \((tuple|CUDA)[^\n]*$"
        ):
            speech.Recogniser("small").transcribe(film)
    install(ZeroDivisionError("a fault of the program"))
    with pytest.raises(ZeroDivisionError):
        speech.Recogniser("small").transcribe(film)


def test_a_model_that_is_none_is_named(tmp_path, install):
    install([], RuntimeError("Unable to open file 'model.bin' in model"))
    with pytest.raises(speech.SpeechError, match=r"--transcribe .*: the model.*model\.bin.* small"):
        speech.Recogniser(str(tmp_path))
    install([], ValueError("Invalid model size 'smal', expected one of: tiny"))
    with pytest.raises(speech.SpeechError, match="expected one of: tiny"):
        speech.Recogniser("smal")
    with pytest.raises(speech.SpeechError, match="no folder is there"):
        speech.Recogniser(str(tmp_path / "none"))


def test_an_absent_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(extras.MissingExtra, match=r'pip install "videobert-jax\[transcribe\]"'):
        speech.Recogniser("small")


def test_the_stand_in_has_the_interface_of_the_real_package():
    real = pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
    fake = stand_in.Package([])
    for method in ("__init__", "transcribe"):
        theirs = inspect.signature(getattr(real.WhisperModel, method)).parameters
        ours = inspect.signature(getattr(fake.WhisperModel, method)).parameters
        assert {name: p.default for name, p in ours.items()} == {
            name: theirs[name].default for name in ours
        }
    for ours, theirs in (
        (stand_in.Segment, real.transcribe.Segment),
        (stand_in.Word, real.transcribe.Word),
    ):
        assert set(ours.__annotations__) <= set(theirs.__annotations__)
