"""What is said in videos, as segments: from a file a video, or one file of many."""

import pathlib
from collections.abc import Callable, Iterator

from videobert_jax.data import index, transcript_files, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus
from videobert_jax.data.segments import Segment
from videobert_jax.text import transcripts
from videobert_jax.text.transcripts import Transcript, TranscriptError, sentences

SPLIT = "train_narration"
_ENDING = "_narration"  # of the splits beside evaluation splits
Tell = Callable[[str, str], None]  # (video, reason) of what is left out


def add_splits(corpus: Corpus, path: pathlib.Path) -> None:
    """Adds what is said in the videos of training splits as the split `train_narration`. It is a
    training split too: videos that are evaluated leave it when the corpus is written.

    What is said in evaluated ones becomes splits of their own, `validation_narration` beside
    `validation`, for evaluation alone (captions from clips and speech); of a video in several
    evaluation splits one, beside the first. There is none where no transcript is of such a video.

    path: a folder of transcripts, or one file of many videos'. Videos without one, and cues that
    cannot be, are told in the corpus' failures. Raises DatasetError where no training video has
    one.
    """
    training = [split for split in corpus.splits if split not in corpus.protocols]
    wanted = {SPLIT: {name for split in training for name in corpus.ids(split)}}
    protocols = {}
    for split, protocol in corpus.protocols.items():
        named = {name for narrated in protocols for name in wanted[narrated]}
        wanted[split + _ENDING] = corpus.ids(split) - named
        protocols[split + _ENDING] = protocol + _ENDING
    said: dict[str, list[Segment]] = {}
    every = {name for names in wanted.values() for name in names}
    for name, transcript in _said(path, every, corpus.drop):
        said[name] = segments(transcript)
    for split, names in wanted.items():
        if split in protocols and not any(said.get(name) for name in names):
            continue
        for name in sorted(names):
            if said.get(name):
                corpus.add(split, AnnotatedVideo(name, tuple(said[name])))
            else:
                corpus.drop(name, f"{split}: no transcript, or nothing is said in it")
        if split in protocols:
            corpus.protocols[split] = protocols[split]
    if SPLIT not in corpus.splits:
        some = ", ".join(sorted(wanted[SPLIT])[:3])
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
