"""`videobert transcripts --input FILE_OR_DIR --output DIR`: what is said in videos, as sentences.

Reads transcripts of every form (docs/transcripts.md), also files of many videos such as HowTo100M's
captions, one video in memory at a time; of videos without one their own subtitle tracks, and with
--transcribe their speech. Writes VIDEO.vtt, a sentence a cue, and failures.jsonl: each cue, file
and video left out, with its reason. Stopped, the same command goes on.
"""

import argparse
import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from videobert_jax.files import extras

if TYPE_CHECKING:
    from videobert_jax.text.transcripts import Transcript
    from videobert_jax.text.transcripts.sentence_folder import SentenceFolder

HELP = "turn transcripts of any form, subtitle tracks and speech into timed sentences (WebVTT)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        type=pathlib.Path,
        required=True,
        help="a transcript, a file of many, a video, or a folder of them",
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder to write")
    add_options(parser)


def add_options(parser: argparse._ActionsContainer) -> None:
    """How videos without a transcript's file get theirs."""
    parser.add_argument(
        "--language",
        default="",
        help="of what is said, such as en: chooses among files and subtitle tracks, and is what "
        "--transcribe expects to hear; default: that of the sound track, as the file names it",
    )
    parser.add_argument(
        "--no-subtitle-tracks",
        action="store_true",
        help="take no subtitle tracks of videos that have no transcript's file",
    )
    parser.add_argument(
        "--transcribe",
        metavar="MODEL",
        help="recognise the speech of videos that have neither: the folder of a Whisper model "
        "converted for CTranslate2, or a name that faster-whisper knows, such as small",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when every video has its sentences, 1 where some failed. Raises TranscriptError,
    CorpusError, SpeechError, MissingExtra."""
    from videobert_jax.files import progress
    from videobert_jax.text.transcripts.sentence_folder import FAILURES_FILE, SentenceFolder

    files, videos = _inputs(arguments.input, arguments.output)
    folder = SentenceFolder(arguments.output)
    shown = progress.Progress("transcripts", None if any(many for _, many in files) else len(files))
    written: set[str] = set()
    finished = {video for video in videos if folder.has(video)}
    for video, source, transcript in _read(files, folder, arguments.language):
        if video in written:
            folder.tell(video, "transcript", f"{source}: a second one of it; the first was taken")
        elif transcript is None:
            finished.add(video)
        else:
            folder.add(video, transcript, "transcript", source)
            written.add(video)
        shown.step()
    for video in fill(folder, videos, arguments):
        reason = "nothing tells what is said in it; give a transcript's file, or say --transcribe"
        folder.fail(video, "subtitles", f"{videos[video].name}: {reason}")
    told = len(folder.failures())
    print(
        f"{arguments.output}: {folder.sentences:,} sentences of {folder.videos:,} videos, "
        f"{len(finished):,} there already, {len(folder.failed):,} failed"
    )
    if told:
        print(f"  {told:,} cues, files and videos left out: {arguments.output / FAILURES_FILE}")
    return 1 if folder.failed else 0


def fill(
    folder: "SentenceFolder", videos: Mapping[str, pathlib.Path], arguments: argparse.Namespace
) -> list[str]:
    """Videos of which nothing tells what is said; the others' sentences are in `folder` then, by
    the options of `add_options`. Raises SpeechError, MissingExtra."""
    left = {video: path for video, path in videos.items() if not folder.has(video)}
    if not left or (arguments.no_subtitle_tracks and arguments.transcribe is None):
        return list(left)
    extras.require("av", "video")
    from videobert_jax.video import speech, transcribing

    load = None
    if (model := arguments.transcribe) is not None:
        extras.require("faster_whisper", "transcribe")
        load = functools.partial(speech.Recogniser, model, arguments.language)
    subtitles = not arguments.no_subtitle_tracks
    return transcribing.fill(folder, left, arguments.language, subtitles, load)


def _inputs(
    source: pathlib.Path, output: pathlib.Path
) -> tuple[list[tuple[pathlib.Path, bool]], dict[str, pathlib.Path]]:
    """Transcripts' files, with whether each is of many videos; and videos by their names."""
    from videobert_jax.data import transcript_files, video_ids
    from videobert_jax.text import transcripts
    from videobert_jax.video import corpus

    if not source.exists():
        raise transcripts.TranscriptError(
            f"{source} is not there; give --input the path of a transcript, a video or a folder"
        )
    if source.is_dir():
        files = transcript_files.files_in(source)
        films = [p for p in source.rglob("*") if p.suffix.lower() in corpus.SUFFIXES]
        found = corpus.find(source) if films else []
    else:
        files, found = (
            ([], [source]) if source.suffix.lower() in corpus.SUFFIXES else ([source], [])
        )
    # The output may lie in the input: what it holds are results.
    files = [file for file in files if output.resolve() not in file.resolve().parents]
    found = [file for file in found if file.suffix.lower() in corpus.SUFFIXES]
    if not files and not found:
        raise transcripts.TranscriptError(
            f"{source}: neither transcripts nor videos; expected files such as "
            f"{', '.join((*transcript_files.SUFFIXES, *corpus.SUFFIXES[:3]))}"
        )
    listed = [(file, transcripts.holds_many(file)) for file in files]
    return listed, {video_ids.canonical(file.name): file for file in found}


def _read(
    files: list[tuple[pathlib.Path, bool]], folder: "SentenceFolder", language: str
) -> Iterator[tuple[str, str, "Transcript | None"]]:
    """(video, file, its transcript, None where it is finished already); what cannot be read is
    told in `folder`."""
    from videobert_jax.data import transcript_files
    from videobert_jax.text import transcripts

    by_video: dict[str, list[pathlib.Path]] = {}
    for file, file_of_many in files:
        if file_of_many:
            yield from _read_many(file, folder)
        else:
            by_video.setdefault(transcript_files.video_of(file)[0], []).append(file)
    for video, of_video in by_video.items():
        if folder.has(video):
            yield video, of_video[0].name, None
            continue
        try:
            file = _of_language(of_video, language)
            yield video, file.name, transcripts.read_transcript(file)
        except transcripts.TranscriptError as error:
            folder.fail(video, "transcript", str(error))


def _read_many(
    file: pathlib.Path, folder: "SentenceFolder"
) -> Iterator[tuple[str, str, "Transcript | None"]]:
    from videobert_jax.data import video_ids
    from videobert_jax.text import transcripts

    try:
        for named, transcript in transcripts.read_transcripts(file):
            try:
                video = video_ids.canonical(named)
            except ValueError as error:
                folder.fail(named, "transcript", f"{file.name}: {error}")
                continue
            yield video, file.name, None if folder.has(video) else transcript
    except transcripts.TranscriptError as error:
        folder.fail(file.name, "transcript", str(error))


def _of_language(files: list[pathlib.Path], language: str) -> pathlib.Path:
    """The one file of a video to read. Raises TranscriptError where that is not decided."""
    from videobert_jax.data import transcript_files
    from videobert_jax.text import transcripts
    from videobert_jax.video import languages

    named = [(file, transcript_files.video_of(file)[1]) for file in files]
    fitting = [file for file, told in named if not language or languages.same(language, told)]
    fitting = fitting or [file for file, told in named if not told]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(file.name for file in files)
    if fitting:
        raise transcripts.TranscriptError(
            f"{listed}: transcripts of one video; keep one of them, or say --language"
        )
    raise transcripts.TranscriptError(f"{listed}: none of them is in {language}, by its name")
