"""Transcripts of every form, YouTube's real one, and files that are damaged or no transcripts."""

import difflib
import io
import json
import pathlib
import re

import numpy as np
import pytest

from videobert_jax.kitchen import corpus
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import TranscriptError, objects, subtitles

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data"
SAID = [(1.0, 3.5, "cut the onion"), (3.5, 6.0, "stir & wait"), (8.25, 9.0, "done")]

SRT = """1
00:00:01,000 --> 00:00:03,500
<i>cut</i> the onion

2
00:00:03,500 --> 00:00:06,000
stir &amp; wait
3
00:00:08,250 --> 00:00:09,000
>> done [Music]
"""
VTT = """WEBVTT
Kind: captions

NOTE a comment

first
00:01.000 --> 00:03.500 align:start
cut the
onion

00:00:03.500 --> 00:00:06.000
stir &amp; wait

00:00:08.250 --> 00:00:09.000
done
"""
COLUMNS = {
    "start": [s for s, _, _ in SAID],
    "end": [e for _, e, _ in SAID],
    "text": [t for *_, t in SAID],
}
WHISPER = {
    "text": "all of it",
    "segments": [
        {
            "id": n,
            "start": s,
            "end": e,
            "text": f" {t}",
            "words": [{"word": w, "start": s, "end": s} for w in t.split()],
        }
        for n, (s, e, t) in enumerate(SAID)
    ],
}
JSON3 = {
    "events": [
        {"tStartMs": 0, "dDurationMs": 9000, "id": 1},
        *(
            {
                "tStartMs": int(s * 1000),
                "dDurationMs": int((e - s) * 1000),
                "segs": [{"utf8": t[:3]}, {"utf8": t[3:], "tOffsetMs": 200}],
            }
            for s, e, t in SAID
        ),
        {"tStartMs": 9000, "dDurationMs": 10, "aAppend": 1, "segs": [{"utf8": "\n"}]},
    ]
}
FORMS = {
    "srt": SRT,
    "vtt": VTT,
    "json": json.dumps(COLUMNS),
    "one.json": json.dumps({"dQw4w9WgXcQ": COLUMNS}),
    "whisper.json": json.dumps(WHISPER),
    "json3": json.dumps(JSON3),
    "csv": "Start,End,Text\n1.0,0:03.5,cut the onion\n3.5,6.0,stir & wait\n0:08.25,9,done\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(tmp_path, form):
    path = tmp_path / f"x.{form}"
    path.write_text(FORMS[form], encoding="utf-8")
    found = transcripts.read_transcript(path)
    assert [(cue.start, cue.end, cue.text) for cue in found.cues] == SAID and not found.dropped
    path.write_bytes(FORMS[form].replace("\n", "\r\n").encode("utf-16"))
    assert transcripts.read_transcript(path).cues == found.cues


WHOLE = """\ufeffWEBVTT - a title
Kind: captions

NOTE who said it
is not known

STYLE
::cue { color: red }

1
00:01.000 --> 00:04.500 align:start position:10%
<v Ann>Cut the <i>onion</i>
&amp; caf\u00e9 it

100:00:00.250 --> 100:00:01.000
then stir

00:05.000 --> 00:06.000

"""


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_cues_are_read_whatever_stands_around_them(tmp_path, ending):
    path = tmp_path / "a.vtt"
    path.write_bytes(WHOLE.replace("\n", ending).encode())
    assert transcripts.read_transcript(path).cues == [
        transcripts.Cue(1.0, 4.5, "Cut the onion & caf\u00e9 it"),
        transcripts.Cue(360000.25, 360001.0, "then stir"),
    ]


def test_what_the_kitchen_says_is_read_back(tmp_path):
    path = tmp_path / "a.vtt"
    for plan in corpus.plan_videos(20):
        _, cues = corpus.narrate(plan)
        path.write_text(subtitles.write_webvtt(cues), encoding="utf-8")
        found = transcripts.read_transcript(path).cues
        assert [(c.start, c.end, c.text) for c in found] == [(c.start, c.end, c.text) for c in cues]


def test_words_keep_their_times(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(FORMS["json3"])
    assert transcripts.read_transcript(path).cues[0].words == (
        (1.0, "cut"),
        (1.2, "the"),
        (1.2, "onion"),
    )
    segments = [{"start": 1, "end": 3, "text": "a b", "words": [{"word": "a"}, {"word": "b"}]}]
    path.write_text(json.dumps({"segments": segments}))  # WhisperX, words without times
    assert transcripts.read_transcript(path).cues[0].words == ()


def test_youtubes_real_captions_give_every_spoken_word_once_in_order():
    path = SHARED / "transcripts" / "WAaKRUoY6Io.en.vtt"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    found = transcripts.read_transcript(path)
    spoken = []  # by the tags that YouTube puts around every word but the first of a line
    for line in path.read_text(encoding="utf-8").splitlines():
        if "<c>" in line:
            spoken += re.sub(r"<[^>]*>", "", line).split()
    ours = " ".join(cue.text for cue in found.cues).split()
    changes = difflib.SequenceMatcher(None, spoken, ours, autojunk=False).get_opcodes()
    other = [(ours[c:d], spoken[a:b]) for kind, a, b, c, d in changes if kind != "equal"]
    assert other == [(["sweetness"], [])]  # a line of one word, which has no tag
    assert len(ours) == 642 and not found.dropped
    times = [start for cue in found.cues for start, _ in cue.words]
    assert times == sorted(times)
    timed = [word for cue in found.cues for _, word in cue.words]
    assert timed == spoken


def test_the_real_timed_sentences():
    path = SHARED / "youcook2" / "timed_asr.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    found = dict(transcripts.read_transcripts(path))
    assert len(found) == 353 and sum(len(t.cues) for t in found.values()) == 15_523
    first = found["https://www.youtube.com/watch?v=FHvZgt3ExDI"].cues[0]
    assert (first.start, first.end, first.text) == (0.1, 1.5, "guys , jason hill here today.")


def test_captions_that_roll_without_tags_are_taken_once(tmp_path):
    lines = ["one two", "three four", "one two", "five"]
    text, time = "", 0
    for before, line in zip(["", *lines], lines, strict=False):
        text += f"{time + 1}\n00:00:{time:02d},000 --> 00:00:{time + 2:02d},000\n"
        text += "\n".join(filter(None, (before, line))) + "\n\n"
        time += 2
    path = tmp_path / "x.srt"
    path.write_text(text)
    assert [cue.text for cue in transcripts.read_transcript(path).cues] == lines


def test_cues_that_cannot_be_are_left_out_and_told(tmp_path):
    rows = [(0, 2, "good"), (5, 4, "turned"), (-3, 2, "negative"), (40, 41, "behind")]
    rows += [
        (3, "x", "no time"),
        (3, 10**400, "no time either"),
        (6, 7, None),
        (8, 9, "y" * 6000),
        (28, 35, "cut"),
        (27, 29, "late"),
    ]
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps([dict(zip(("start", "end", "text"), row, strict=True)) for row in rows])
    )
    found = transcripts.read_transcript(path, duration=30.0)
    assert [(c.start, c.end, c.text) for c in found.cues] == [
        (0, 2, "good"),
        (27, 29, "late"),  # unordered
        (28, 30, "cut"),
    ]
    reasons = " | ".join(found.dropped)
    assert len(found.dropped) == 7
    for text in ("5 to 4", "-3 to 2", "40 s of 30", "'x'", "NoneType", "6,000 characters"):
        assert text in reasons


def test_what_is_no_transcript_is_named(tmp_path):
    path = tmp_path / "x.vtt"
    for content, message in (
        (b"", "begins with ''"),
        (b"WEBVTT\n", "nothing is said"),
        (b"WEBVTT\n\n00:05.000 --> 00:01.000\nx\n", "nothing is said.*1 left out.*5 to 1"),
        (b"caf\xe9 --> x", ":1: not UTF-8"),
        (b'{"segments": [', "no whole JSON"),
        (b"[" * 100_000, "no whole JSON"),
        (b'{"a": 3}', "JSON of no known form"),
        (b"a,b\n1,2\n", "expected WebVTT"),
        (b'start,text\n1,"x\n', "no csv"),
    ):
        path.write_bytes(content)
        with pytest.raises(TranscriptError, match=message):
            transcripts.read_transcript(path)
    with open(path, "wb") as file:
        file.truncate(70 << 20)
    with pytest.raises(TranscriptError, match="73,400,320 bytes, expected"):
        transcripts.read_transcript(path)
    with pytest.raises(TranscriptError, match="is not there"):
        transcripts.read_transcript(tmp_path / "none.vtt")


def test_many_videos_come_one_by_one(tmp_path):
    path = tmp_path / "captions.json"
    content = {f"video{n}": COLUMNS for n in range(200)}
    path.write_text(json.dumps(content, indent=2))
    found = list(transcripts.read_transcripts(path))
    assert [video for video, _ in found] == list(content)
    assert all([(c.start, c.end, c.text) for c in t.cues] == SAID for _, t in found)
    text = path.read_text()
    for cut in (len(text) // 2, len(text) - 2):
        path.write_text(text[:cut])
        with pytest.raises(TranscriptError, match="no whole JSON|expected one of"):
            list(transcripts.read_transcripts(path))


def test_members_of_an_object_need_no_whole_file_in_memory(monkeypatch):
    monkeypatch.setattr(objects, "_PIECE", 7)
    text = '{"a": [1, 2], "b\\"": {"c": "}"}, "n": 12345678901, "e": ""}'
    assert dict(objects.members(io.StringIO(text), "x")) == json.loads(text)
    assert list(objects.members(io.StringIO(" { } "), "x")) == []
    reads = []

    class Counted(io.StringIO):
        def read(self, size=-1):
            reads.append(size)
            return super().read(size)

    whole = json.dumps({str(n): "x" * 50 for n in range(500)})
    first = next(objects.members(Counted(whole), "x"))
    assert first == ("0", "x" * 50) and sum(reads) < 500


def test_what_is_written_is_read_again(tmp_path):
    cues = [transcripts.Cue(s, e, t) for s, e, t in [*SAID, (3700.0, 3701.001, "a < b & c")]]
    path = tmp_path / "x.vtt"
    path.write_text(subtitles.write_webvtt(cues))
    assert path.read_text().startswith("WEBVTT\n\n00:00:01.000 --> 00:00:03.500\ncut the onion\n\n")
    assert "01:01:40.000 --> 01:01:41.001\na &lt; b &amp; c\n" in path.read_text()
    assert transcripts.read_transcript(path).cues == cues


def test_damaged_files_are_read_or_refused(tmp_path):
    """50 damaged files of each form: cut off, bytes changed, pieces repeated."""
    generator = np.random.default_rng(3)
    refused = 0
    for name, text in FORMS.items():
        whole = text.encode()
        for number in range(50):
            content = bytearray(whole)
            for _ in range(int(generator.integers(1, 6))):
                content[int(generator.integers(len(content)))] = int(generator.integers(256))
            place = int(generator.integers(len(content)))
            if number % 3 == 0:
                content = content[:place]
            elif number % 3 == 1:
                content = content[:place] + content * 20 + content[place:]
            path = tmp_path / f"{number}.{name}"
            path.write_bytes(content)
            try:
                found = transcripts.read_transcript(path)
                assert all(0 <= c.start <= c.end < 1e9 and c.text for c in found.cues)
            except TranscriptError as error:
                assert str(path) in str(error)
                refused += 1
    assert 50 < refused < 350


def test_no_text_makes_a_reader_slow(tmp_path):
    path = tmp_path / "x.vtt"
    for row in (
        "<" * 300_000,
        "[" * 300_000,
        ">> " * 100_000,
        "&" * 300_000,
        "00:00:01.000<" * 20_000,
    ):
        path.write_text(
            f"WEBVTT\n\n00:00.000 --> 00:01.000\n{row}\n\n00:01.000 --> 00:02.000\nok\n"
        )
        assert transcripts.read_transcript(path).cues[-1].text == "ok"
