"""Subtitle tracks of films made here: every form, which track is taken, what is left out, and
files that are damaged."""

import numpy as np
import pytest

from tests.video import subtitled
from tests.video.subtitled import SAID, Track
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import TranscriptError
from videobert_jax.video import languages, subtitle_tracks

av = pytest.importorskip("av", reason="PyAV is not installed")
TOLD = [(1.0, 3.5, "cut the onion"), (4.0, 6.0, "stir & wait"), (7.25, 9.0, "done")]


def read(path, language="") -> transcripts.Transcript:
    found = subtitle_tracks.read_track(path, language)
    assert found is not None
    return found


def rows(found) -> list[tuple[float, float, str]]:
    return [(round(cue.start, 3), round(cue.end, 3), cue.text) for cue in found.cues]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("x.mkv", "subrip"),
        ("x.mkv", "ass"),
        ("x.mkv", "webvtt"),
        ("x.webm", "webvtt"),
        ("x.mp4", "mov_text"),
        ("x.mov", "mov_text"),
    ],
)
def test_every_form_of_text_says_the_same(tmp_path, name, codec):
    cues = SAID
    if codec in ("ass", "mov_text"):
        cues = [(s, e, t.replace("<i>", "").replace("</i>", "")) for s, e, t in SAID]
    if codec == "ass":
        cues[0] = (1.0, 3.5, r"{\b1\i1}cut{\b0}\Nthe\honion")
    path = subtitled.write(tmp_path / name, [Track(codec, cues)])
    found = read(path)
    assert rows(found) == TOLD and found.dropped == []


def test_times_are_counted_from_the_first_picture(tmp_path):
    path = subtitled.write(tmp_path / "x.mkv", [Track()], delay=0.5)
    assert [start for start, _, _ in rows(read(path))] == [0.5, 3.5, 6.75]


def test_a_file_without_a_track_has_no_transcript(tmp_path):
    assert subtitle_tracks.read_track(subtitled.write(tmp_path / "x.mkv", sound="eng")) is None


def track(language: str, said: str, disposition: int = 0) -> Track:
    return Track("subrip", [(1.0, 2.0, said)], language, disposition)


DEFAULT, FORCED, COMMENT = 1, 64, 8
GERMAN, ENGLISH, FRENCH = track("ger", "deutsch"), track("eng", "english"), track("fre", "fran")


@pytest.mark.parametrize(
    ("tracks", "sound", "language", "taken"),
    [
        ([GERMAN, ENGLISH], "eng", "", "english"),  # what is spoken
        ([GERMAN, ENGLISH], "eng", "de", "deutsch"),  # what was asked for
        ([GERMAN, ENGLISH], "eng", "deu", "deutsch"),
        ([GERMAN, ENGLISH], "", "", "deutsch"),  # nothing decides: the first
        ([GERMAN, track("eng", "english", DEFAULT)], None, "", "english"),  # or the default
        ([track("eng", "first"), track("eng", "marked", DEFAULT)], "eng", "", "marked"),
        ([track("eng", "signs", FORCED | DEFAULT), ENGLISH], "eng", "", "english"),
        ([track("eng", "director", COMMENT), ENGLISH], "eng", "", "english"),
        ([GERMAN, track("", "nameless")], "eng", "", "nameless"),
        ([Track("dvd_subtitle", [(1, 2, b"\0\1\2")], "eng"), ENGLISH], "eng", "", "english"),
        ([track("gsw", "schwyz"), ENGLISH], "eng", "gsw", "schwyz"),  # no language of the table
        ([GERMAN, FRENCH], "eng", "", None),  # translations are not what is said
        ([GERMAN], "", "en", None),
        ([track("eng", "signs", FORCED)], "eng", "", None),
    ],
)
def test_the_track_of_what_is_said_is_taken(tmp_path, tracks, sound, language, taken):
    path = subtitled.write(tmp_path / "x.mkv", tracks, sound=sound)
    if taken is not None:
        assert [cue.text for cue in read(path, language).cues] == [taken]
        return
    with pytest.raises(TranscriptError, match="no subtitle track of what is said in .*its tracks"):
        read(path, language)


def test_pictures_are_told(tmp_path):
    tracks = [Track("dvd_subtitle", [(1, 2, b"\0\1\2\3")], "eng")]
    with pytest.raises(
        TranscriptError, match=r"hold pictures or an unknown form \(dvd.*expected text"
    ):
        read(subtitled.write(tmp_path / "x.mkv", tracks))


def test_hostile_cues_are_left_out_and_told(tmp_path, monkeypatch):
    cues = [
        (0.5, 1.0, "good"),
        (1.0, 2.0, b"caf\xe9 \xff"),
        (2.0, 3.0, "y" * 6000),
        (3.0, 4.0, r"{\p1}m 0 0 l 100 0 100 100{\p0}"),
        (4.0, 5.0, "[music]"),
        (5.0, 5.0, "no length"),
        (6.0, 7.0, "{" * 5000),
        (7.0, 7.0, "no length, the last"),
        (5000.0, 5001.0, "behind the end"),
    ]
    path = subtitled.write(tmp_path / "x.mkv", [Track("ass", cues)])
    claimed = path.read_bytes()
    found = read(path)
    said = rows(found)
    assert (0.5, 1.0, "good") in said and (5.0, 6.0, "no length") in said
    assert not any("m 0 0" in text or "music" in text for *_, text in said)
    reasons = " | ".join(found.dropped)
    assert "InvalidDataError" in reasons and "6,000 characters" in reasons
    monkeypatch.setattr(subtitle_tracks, "MAX_BYTES", 5000)
    with pytest.raises(TranscriptError, match="more than 5,000 bytes of subtitles"):
        read(path)
    assert path.read_bytes() == claimed
    silent = subtitled.write(tmp_path / "y.mkv", [Track("subrip", [(1.0, 2.0, b"\xff\xff")])])
    with pytest.raises(TranscriptError, match="nothing is said.*1 left out.*InvalidDataError"):
        read(silent)


def test_damaged_files_are_read_or_refused(tmp_path):
    generator = np.random.default_rng(5)
    outcomes = set()
    for name, codec in (("x.mkv", "subrip"), ("x.mp4", "mov_text")):
        whole = subtitled.write(tmp_path / name, [Track(codec)]).read_bytes()
        for number in range(60):
            content = bytearray(whole)
            for _ in range(int(generator.integers(1, 30))):
                content[int(generator.integers(len(content)))] = int(generator.integers(256))
            if number % 3 == 0:
                content = content[: int(generator.integers(len(content)))]
            path = tmp_path / f"{number}_{name}"
            path.write_bytes(content)
            try:
                found = subtitle_tracks.read_track(path)
                for cue in found.cues if found is not None else ():
                    assert 0 <= cue.start <= cue.end and cue.text
                outcomes.add("none" if found is None else "read")
            except TranscriptError as error:
                assert str(path) in str(error)
                outcomes.add("refused")
            path.unlink()
    assert outcomes >= {"read", "refused"}
    for content in (b"", b"no video", b"\x1aE\xdf\xa3" + b"\xff" * 100):
        (tmp_path / "y.mkv").write_bytes(content)
        with pytest.raises(TranscriptError, match="cannot be opened as video"):
            read(tmp_path / "y.mkv")
    with pytest.raises(TranscriptError, match="cannot be opened as video"):
        read(tmp_path / "none.mkv")


def test_names_of_languages():
    assert (
        languages.same("en", "eng") and languages.same("de", "ger") and languages.same("DE", "deu")
    )
    assert languages.same("en-US", "en_GB") and languages.same("gsw", "gsw")
    assert not languages.same("", "") and not languages.same("en", "de")
    assert not languages.same("en", "")
