"""Transcripts of videos that have no file of one: by their own subtitle tracks, then by speech."""

import pathlib
from collections.abc import Callable, Mapping

from videobert_jax.files import progress
from videobert_jax.text.transcripts import TranscriptError
from videobert_jax.text.transcripts.sentence_folder import SentenceFolder
from videobert_jax.video import subtitle_tracks
from videobert_jax.video.speech import Recogniser


def fill(
    folder: SentenceFolder,
    videos: Mapping[str, pathlib.Path],
    language: str,
    subtitles: bool,
    load_recogniser: Callable[[], Recogniser] | None,
) -> list[str]:
    """Videos of which nothing tells what is said: no subtitle track, and speech not recognised.
    What is said in the others is written to `folder`.

    `videos`: file by the name of its transcript. `subtitles`: whether tracks are taken. What fails
    is told there, of each way. The recogniser is loaded before anything is read, so that a wrong
    name of a model costs no time. Raises SpeechError.
    """
    recogniser = None if load_recogniser is None else load_recogniser()
    shown, silent = progress.Progress("videos' transcripts", len(videos)), []
    for name, path in videos.items():
        if not (subtitles and _by_track(folder, name, path, language)):
            if recogniser is not None:
                _by_speech(folder, name, path, recogniser)
            elif name not in folder.failed:
                silent.append(name)
        shown.step()
    return silent


def _by_track(folder: SentenceFolder, name: str, path: pathlib.Path, language: str) -> bool:
    """Whether the video's own track says what is said in it."""
    try:
        transcript = subtitle_tracks.read_track(path, language)
    except TranscriptError as error:
        folder.fail(name, "subtitles", str(error))
        return False
    if transcript is None:
        return False
    folder.add(name, transcript, "subtitles", path.name)
    return folder.has(name)


def _by_speech(
    folder: SentenceFolder, name: str, path: pathlib.Path, recogniser: Recogniser
) -> None:
    try:
        transcript = recogniser.transcribe(path)
    except TranscriptError as error:
        folder.fail(name, "speech", str(error))
        return
    folder.add(name, transcript, "speech", path.name, keep_silent=True)
