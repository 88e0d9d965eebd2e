"""What is said in videos, as segments: from a file a video, or one file of many."""

import pathlib
from collections.abc import Callable, Iterator

from videobert_jax.data import index, transcript_files, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus
from videobert_jax.data.segments import Segment
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import Transcript, TranscriptError, sentences

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
    for name, transcript in _said(path, wanted, corpus.drop):
        said[name] = segments(transcript)
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


def _said(
    path: pathlib.Path, wanted: set[str], tell: Tell
) -> Iterator[tuple[str, Transcript | None]]:
    if path.is_dir():
        found = transcript_files.files_by_video(transcript_files.files_in(path))
        for name, file in found.items():
            if name in wanted:
                yield name, read(name, file, None, tell)
        return
    try:
        for video, transcript in transcripts.read_transcripts(path):
            if (name := video_ids.canonical(video)) in wanted:
                for reason in transcript.dropped:
                    tell(name, f"{path.name}: {reason}")
                yield name, transcript
    except TranscriptError as error:
        raise index.DatasetError(str(error)) from error


def read(name: str, file: pathlib.Path, seconds: float | None, tell: Tell) -> Transcript | None:
    """What is said in a video of `seconds`; None where the file is damaged, which is told."""
    try:
        transcript = transcripts.read_transcript(file, duration=seconds)
    except TranscriptError as error:
        tell(name, str(error))
        return None
    for reason in transcript.dropped:
        tell(name, f"{file.name}: {reason}")
    return transcript


def segments(transcript: Transcript | None) -> list[Segment]:
    """Sentences of a transcript as captioned intervals."""
    if transcript is None:
        return []
    return [Segment(cue.start, cue.end, cue.text) for cue in sentences.of_transcript(transcript)]
