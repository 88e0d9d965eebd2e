"""Transcripts, tokenizers, vocabularies and other text that commands take."""

import argparse
import json
import pathlib
from typing import Any

from tests import berts, bundles
from tests.drills.readers import Reader
from videobert_jax.cli import localize
from videobert_jax.text import content_words, label_lists, tokenizer, transcripts, word_pieces
from videobert_jax.text.errors import TokenizerError
from videobert_jax.text.transcripts import TranscriptError, sentence_folder
from videobert_jax.video import corpus

_VTT = """WEBVTT

00:00:01.000 --> 00:00:03.500 align:start
now cut<00:00:02.000><c> the</c><00:00:02.500><c> onion</c>

2
00:00:03.500 --> 00:00:05.000
the &amp; onion
into pieces
"""
_SRT = (
    "1\n00:00:01,000 --> 00:00:03,500\ncut it\n\n2\n00:00:04,000 --> 00:00:05,000\n- <i>stir</i>\n"
)
_JSON: dict[str, Any] = {
    "youtube.json3": {
        "events": [
            {
                "tStartMs": 0,
                "dDurationMs": 900,
                "segs": [{"utf8": "cut"}, {"utf8": " it", "tOffsetMs": 300}],
            },
            {"tStartMs": 900, "aAppend": 1, "segs": [{"utf8": "\n"}]},
        ]
    },
    "whisper.json": {
        "segments": [
            {
                "start": 0.5,
                "end": 2,
                "text": "cut it",
                "words": [{"start": 0.5, "word": "cut"}, {"start": 1, "word": "it"}],
            }
        ]
    },
    "columns.json": {"start": [0, 2], "end": [1.5, 4], "text": ["cut", "stir"]},
}
_CSV = "start,end,text\n0.5,2,cut it\n00:03,00:05.5,stir\n"
_MANY = "video_id,start,text\na,0,cut\na,2,stir\nb,0,pour\n"


def _transcripts(folder: pathlib.Path) -> None:
    for name, value in _JSON.items():
        (folder / name).write_text(json.dumps(value))
    for name, text in {"a.vtt": _VTT, "b.srt": _SRT, "c.csv": _CSV}.items():
        (folder / name).write_text(text)


def _read_transcripts(folder: pathlib.Path) -> None:
    for file in sorted(folder.iterdir()):
        transcripts.holds_many(file)
        found = transcripts.read_transcript(file, 60.0)
        transcripts.sentences.of_transcript(found)


def _many(folder: pathlib.Path) -> None:
    (folder / "many.json").write_text(
        json.dumps({"a": _JSON["columns.json"], "b": _JSON["columns.json"]})
    )
    (folder / "many.csv").write_text(_MANY)


def _read_many(folder: pathlib.Path) -> None:
    for file in sorted(folder.iterdir()):
        transcripts.holds_many(file)
        list(transcripts.read_transcripts(file))


def _sentences(folder: pathlib.Path) -> None:
    lines = [{"video": "a", "stage": "transcript", "reason": "none"}, {"video": "b", "reason": "x"}]
    (folder / "failures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "a.vtt").write_text(_VTT)


def _read_tokenizer(path: pathlib.Path) -> None:
    made = tokenizer.Tokenizer.from_file(path)
    ids = made.encode(["cut the Onion", "", "é \ud55c"])
    for of_text in ids:
        made.decode(of_text)


def _published(folder: pathlib.Path) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(berts.tokenizer_json(berts.PIECES)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))


def _listed(folder: pathlib.Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(berts.PIECES) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))


def _read_published(folder: pathlib.Path) -> None:
    word_pieces.read_published(folder).vocabulary.library_tokenizer().encode("cut slowly")


def _word_pieces(folder: pathlib.Path) -> None:
    _published(folder)
    vocabulary = word_pieces.read_published(folder).vocabulary
    (folder / "tokenizer.model").write_bytes(word_pieces.model_of(vocabulary, ["cut the egg"]))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def _content_words(folder: pathlib.Path) -> None:
    words = content_words.ContentWords(3, {"onion": 2, "cut": 1}, {"dataset": "x"})
    content_words.save(folder / "words.json", words)


def _label_lists(folder: pathlib.Path) -> None:
    forms = {"verb": {"cut": ["cut"]}, "object": {"onion": ["onion", "onions"]}}
    counts = {"verb": {"cut": 1}, "object": {"onion": 2}}
    label_lists.save(folder / "lists.json", label_lists.LabelLists(forms, counts, {"split": "x"}))


def _read_steps(folder: pathlib.Path) -> list[str]:
    return localize._steps(argparse.Namespace(step=None, steps=folder / "steps.txt"))


def _read_content_words(folder: pathlib.Path) -> None:
    words = content_words.load(folder / "words.json")
    [words.weight(word) for word in words.words]


READERS = [
    Reader(
        "transcript",
        ("text.transcripts.reading", "text.transcripts.subtitles", "text.transcripts.objects"),
        _transcripts,
        _read_transcripts,
        (TranscriptError,),
    ),
    Reader(
        "transcripts_of_many",
        ("text.transcripts.reading", "text.transcripts.objects"),
        _many,
        _read_many,
        (TranscriptError,),
    ),
    Reader(
        "sentence_folder",
        ("text.transcripts.sentence_folder",),
        _sentences,
        lambda folder: sentence_folder.SentenceFolder(folder).failures(),
        (TranscriptError,),
        writes=True,
    ),
    Reader(
        "sentencepiece",
        ("text.tokenizer",),
        lambda folder: (folder / "pieces").write_bytes(tokenizer.train(bundles.CAPTIONS, 300)),
        lambda folder: _read_tokenizer(folder / "pieces"),
        (TokenizerError,),
    ),
    Reader(
        "word_pieces",
        ("text.word_pieces", "text.tokenizer"),
        _word_pieces,
        lambda folder: _read_tokenizer(folder / "tokenizer.model"),
        (TokenizerError,),
    ),
    Reader(
        "published_word_pieces",
        ("text.word_pieces",),
        _published,
        _read_published,
        (TokenizerError,),
    ),
    Reader("vocabulary", ("text.word_pieces",), _listed, _read_published, (TokenizerError,)),
    Reader(
        "content_words",
        ("text.content_words",),
        _content_words,
        _read_content_words,
        (content_words.ContentWordsError,),
    ),
    Reader(
        "label_lists",
        ("text.label_lists",),
        _label_lists,
        lambda folder: label_lists.load(folder / "lists.json").told("cut onions"),
        (label_lists.LabelListError,),
    ),
    Reader(
        "steps",
        ("cli.localize",),
        lambda folder: (folder / "steps.txt").write_text("cut the onion\nstir\n"),
        _read_steps,
        (localize.StepsError,),
        named=("--steps=",),
    ),
    Reader(
        "list_of_videos",
        ("video.corpus",),
        lambda folder: (folder / "videos.txt").write_text("a.mp4\nb/c.webm\n"),
        lambda folder: corpus.find(folder / "videos.txt"),
        (corpus.CorpusError,),
    ),
]
