"""What is said in videos, as segments: from a file a video, or one file of many."""

import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from videobert_jax.data import index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus
from videobert_jax.data.segments import Segment
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import Cue, TranscriptError, sentences

SUFFIXES = (".vtt", ".srt", ".json3", ".json", ".csv")
SPLIT = "train_narration"
Tell = Callable[[str, str], None]  # (video, reason) of what is left out


def add_split(corpus: Corpus, path: pathlib.Path) -> None:
    """Adds what is said in the videos of training splits as the split `train_narration`. It is a
    training split too: videos that are evaluated leave it when the corpus is written.

    path: a folder of transcripts, or one file of many videos'. Videos without one, and cues that
    cannot be, are told in the corpus' failures. Raises DatasetError where no training video has
    one.
    """
    training = [split for split in corpus.splits if split not in corpus.protocols]
    wanted = {name for split in training for name in corpus.ids(split)}
    said: dict[str, list[Segment]] = {}
    for name, cues in _cues(path, wanted, corpus.drop):
        said[name] = segments(cues)
    for name in sorted(wanted):
        if said.get(name):
            corpus.add(SPLIT, AnnotatedVideo(name, tuple(said[name])))
        else:
            corpus.drop(name, f"{SPLIT}: no transcript, or nothing is said in it")
    if SPLIT not in corpus.splits:
        some = ", ".join(sorted(wanted)[:3])
        raise index.DatasetError(
            f"{path}: no transcript of any training video ({some}, ...); expected files named "
            "after videos, such as VIDEO.en.vtt, or a JSON or csv of many videos"
        )


def _cues(path: pathlib.Path, wanted: set[str], tell: Tell) -> Iterator[tuple[str, list[Cue]]]:
    if path.is_dir():
        for name, file in files(path).items():
            if name in wanted:
                yield name, read(name, file, None, tell)
        return
    try:
        for video, transcript in transcripts.read_transcripts(path):
            if (name := video_ids.canonical(video)) in wanted:
                for reason in transcript.dropped:
                    tell(name, f"{path.name}: {reason}")
                yield name, transcript.cues
    except TranscriptError as error:
        raise index.DatasetError(str(error)) from error


def files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Transcript files by the canonical id of the video that they are named after.

    Raises DatasetError where there is no folder, and where a video has two.
    """
    if not folder.is_dir():
        raise index.DatasetError(f"{folder}: no folder; give --transcripts DIR")
    return named(file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES)


def named(transcript_files: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Files by the video that they are named after. Raises DatasetError where one has two."""
    found: dict[str, pathlib.Path] = {}
    for file in transcript_files:
        # YouTube's files name their language: VIDEO.en.vtt.
        stem = file.name.removesuffix(file.suffix)
        language = stem.rsplit(".", 1)[-1]
        if language != stem and len(language) <= 5:
            stem = stem.rsplit(".", 1)[0]
        video = video_ids.canonical(stem)
        if video in found:
            raise index.DatasetError(
                f"{found[video]} and {file} are transcripts of one video; keep one of them"
            )
        found[video] = file
    return found


def read(name: str, file: pathlib.Path, seconds: float | None, tell: Tell) -> list[Cue]:
    """Cues of a video of `seconds`; none where the file is damaged, which is told."""
    try:
        transcript = transcripts.read_transcript(file, duration=seconds)
    except TranscriptError as error:
        tell(name, str(error))
        return []
    for reason in transcript.dropped:
        tell(name, f"{file.name}: {reason}")
    return transcript.cues


def segments(cues: Sequence[Cue]) -> list[Segment]:
    """Sentences of cues as captioned intervals."""
    return [Segment(cue.start, cue.end, cue.text) for cue in sentences.of_cues(cues)]
