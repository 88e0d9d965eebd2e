"""HowTo100M (Miech et al. 2019): narrated instructional videos, 136 M captions of speech."""

import itertools
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, StreamedVideos
from videobert_jax.data.segments import Segment
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import TranscriptError
from videobert_jax.text.transcripts.cue import Collector

_ABOUT = ("category_1", "category_2", "rank", "task_id")
_ALIGNED = ("vid", "timestamp", "text")
# Of a sentence that has a moment in place of an interval: what TAN trains on around it, 16 frames
# at 5 a second (Han et al. 2022, appendix D).
_ALIGNED_SECONDS = 3.2


@datasets.published
def read(annotations: pathlib.Path, video_csv: pathlib.Path | None = None) -> Corpus:
    """caption.json or raw_caption.json, `{video: {start, end, text}}`, a sentencified one of the
    same form, or htm_aa_v1.csv (vid, timestamp, text: sentences and the moment that shows what they
    say; both Han et al. 2022), all of it the split `train`; the captions stay as they are.

    video_csv: HowTo100M_v1.csv (video_id, category_1, category_2, rank, task_id), for the videos'
    tasks. The captions are read twice, one video in memory at a time; videos without any are left
    out. Raises DatasetError on other forms.
    """
    about = {} if video_csv is None else _tasks(video_csv)
    corpus = Corpus("howto100m", "HowTo100M (Miech et al. 2019)", {}, {})
    names, silent = set(), set()
    for name, transcript in _captions(annotations):
        if name in names or name in silent:
            raise index.DatasetError(
                f"{annotations}: {name} is there twice; sort the file by video, or fetch it anew"
            )
        (names if transcript.cues else silent).add(name)
        if dropped := transcript.dropped:
            corpus.drop(name, f"{len(dropped)} captions, the first: {dropped[0]}")
        elif not transcript.cues:
            corpus.drop(name, "no captions")

    def videos() -> Iterator[AnnotatedVideo]:
        for name, transcript in _captions(annotations):
            cues = tuple(Segment(cue.start, cue.end, cue.text) for cue in transcript.cues)
            known: dict[str, Any] = dict(zip(_ABOUT, about.get(name, ()), strict=False))
            yield AnnotatedVideo(name, cues, None if video_csv is None else known)

    corpus.splits["train"] = StreamedVideos(videos, frozenset(names))
    return corpus


def _captions(file: pathlib.Path) -> Iterator[tuple[str, transcripts.Transcript]]:
    if file.suffix == ".csv":
        yield from _aligned(file)
        return
    try:
        for name, transcript in transcripts.read_transcripts(file):
            yield video_ids.canonical(name), transcript
    except TranscriptError as error:
        raise index.DatasetError(str(error)) from error


def _aligned(file: pathlib.Path) -> Iterator[tuple[str, transcripts.Transcript]]:
    rows = datasets.each_csv_row(file, _ALIGNED)
    for name, of_video in itertools.groupby(rows, lambda row: row["vid"]):
        cues = Collector(None)
        for number, row in enumerate(of_video):
            begin = end = row["timestamp"]
            try:
                begin = max(0.0, float(begin) - _ALIGNED_SECONDS / 2)
                end = float(end) + _ALIGNED_SECONDS / 2
            except ValueError:
                pass  # told below, as a time that is none
            cues.add(f"sentence {number}", begin, end, row["text"])
        yield video_ids.canonical(name), cues.transcript()


def _tasks(file: pathlib.Path) -> dict[str, tuple[str, ...]]:
    """What `_ABOUT` says of each video: 1.2 M of them, so that categories are kept once."""
    return {
        video_ids.canonical(row["video_id"]): tuple(sys.intern(row[field]) for field in _ABOUT)
        for row in datasets.each_csv_row(file, ("video_id", *_ABOUT))
    }
