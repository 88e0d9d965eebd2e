import pytest

from videobert_jax.kitchen import corpus, narration
from videobert_jax.text import webvtt

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
LINES = [
    webvtt.Line(1.0, 4.5, "Cut the onion & caf\u00e9 it"),
    webvtt.Line(360000.25, 360001.0, "then stir"),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_read_whatever_stands_around_them(tmp_path, ending):
    path = tmp_path / "a.vtt"
    path.write_bytes(WHOLE.replace("\n", ending).encode())
    assert webvtt.read(path) == LINES


def test_what_the_kitchen_says_is_read_back(tmp_path):
    path = tmp_path / "a.vtt"
    for plan in corpus.plan_videos(20):
        _, cues = corpus.narrate(plan)
        path.write_text(narration.to_webvtt(cues), encoding="utf-8")
        assert webvtt.read(path) == [webvtt.Line(cue.start, cue.end, cue.text) for cue in cues]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "a.vtt:1: begins with ''"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nhi\n", "a.vtt:1: begins with '1', expected WEBVTT"),
        (b"WEBVTTX\n\n00:01.000 --> 00:02.000\nhi\n", "a.vtt:1: "),
        (b"WEBVTT\n\n00:01.000 --> 00:02.000\nh\xe9\n", "a.vtt:4: not UTF-8"),
        (b"WEBVTT\n\n00:01,000 --> 00:02,000\nhi\n", "a.vtt:3: .*expected a time"),
        (b"WEBVTT\n\nname\n00:61.000 --> 00:02.000\nhi\n", "a.vtt:4: .*expected a time"),
        (b"WEBVTT\n\nhi there\n", "a.vtt:3: 'hi there', expected a time"),
        (b"WEBVTT\n\n00:03.000 --> 00:02.000\nhi\n", "a.vtt:3: from 3.0 to 2.0 s"),
        (b"WEBVTT\n\nNOTE nothing\n", "no line of text"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, contents, message):
    path = tmp_path / "a.vtt"
    path.write_bytes(contents)
    with pytest.raises(webvtt.TranscriptError, match=message):
        webvtt.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(webvtt.TranscriptError, match="b.vtt is not there"):
        webvtt.read(tmp_path / "b.vtt")
