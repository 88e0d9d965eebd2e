"""HowTo100M (Miech et al. 2019): narrated instructional videos, 136 M captions of speech."""

import pathlib
from collections.abc import Iterator

from videobert_jax.data import index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, StreamedVideos
from videobert_jax.data.datasets.youcook2 import csv_rows
from videobert_jax.data.segments import Segment
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import TranscriptError

_COLUMNS = ("video_id", "category_1", "category_2", "rank", "task_id")


def read(annotations: pathlib.Path, video_csv: pathlib.Path | None = None) -> Corpus:
    """caption.json or raw_caption.json, `{video: {start, end, text}}`, or a sentencified one of the
    same form (Han et al. 2022), all of it the split `train`; the captions stay as they are.

    video_csv: HowTo100M_v1.csv (video_id, category_1, category_2, rank, task_id), for the videos'
    tasks. The captions are read twice, one video in memory at a time. Raises DatasetError on other
    forms.
    """
    about = _tasks(video_csv)
    corpus = Corpus("howto100m", "HowTo100M (Miech et al. 2019)", {}, {})
    names = set()
    for name, transcript in _captions(annotations):
        if name in names:
            raise index.DatasetError(f"{annotations}: {name} is there twice; fetch the file anew")
        names.add(name)
        for reason in transcript.dropped:
            corpus.drop(name, reason)

    def videos() -> Iterator[AnnotatedVideo]:
        for name, transcript in _captions(annotations):
            cues = tuple(Segment(cue.start, cue.end, cue.text) for cue in transcript.cues)
            yield AnnotatedVideo(name, cues, about.get(name, {}) if about else None)

    corpus.splits["train"] = StreamedVideos(videos, frozenset(names))
    return corpus


def _captions(file: pathlib.Path) -> Iterator[tuple[str, transcripts.Transcript]]:
    try:
        for name, transcript in transcripts.read_transcripts(file):
            yield video_ids.canonical(name), transcript
    except TranscriptError as error:
        raise index.DatasetError(str(error)) from error


def _tasks(file: pathlib.Path | None) -> dict[str, dict[str, str]]:
    rows = csv_rows(file, _COLUMNS) if file is not None else []
    kept = _COLUMNS[1:]
    return {video_ids.canonical(row["video_id"]): {k: row[k] for k in kept} for row in rows}
