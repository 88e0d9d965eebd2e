"""What is said in a video by recognising its speech: Whisper, by faster-whisper."""

import contextlib
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from videobert_jax.files import extras
from videobert_jax.text.transcripts import Transcript, TranscriptError
from videobert_jax.text.transcripts.cue import Collector
from videobert_jax.video import languages


class SpeechError(ValueError):
    """A model of speech that cannot be loaded."""


class Recogniser:
    """A loaded Whisper model (Radford et al. 2022), converted for CTranslate2.

    model: a folder with model.bin, or a name that faster-whisper knows ("small", "large-v3") or
    finds on the Hugging Face Hub. language: "" lets the model tell it, a video at a time.
    """

    def __init__(self, model: str, language: str = ""):
        """Raises SpeechError where the model cannot be loaded, MissingExtra where faster-whisper
        is absent."""
        package = extras.require("faster_whisper", "transcribe")
        looks_like_path = pathlib.Path(model).is_absolute() or model.startswith(("./", "../", "~"))
        if looks_like_path and not pathlib.Path(model).is_dir():
            raise SpeechError(
                f"--transcribe {model}: no folder is there; give the folder of a converted Whisper "
                "model (with model.bin), or a name such as small"
            )
        try:
            # `default` computes in the type that the model's files have.
            self._model: Any = package.WhisperModel(model, device="auto", compute_type="default")
        except (ValueError, RuntimeError, OSError) as error:  # of CTranslate2 and of the Hub
            raise SpeechError(
                f"--transcribe {model}: the model cannot be loaded ({_first_line(error)}); give "
                "the folder of a converted Whisper model (with model.bin), or a name such as small"
            ) from error
        self._language = languages.short(language)

    def transcribe(self, path: str | os.PathLike) -> Transcript:
        """What is said in a file with sound, with the times of words; no cues where nothing is.

        Times are counted from the first picture, as clips are. Raises TranscriptError where the
        file has no sound, or none that can be decoded.
        """
        path = pathlib.Path(path)
        offset, cues = _sound_offset(path), Collector(None)
        try:
            # The filter leaves out what is no speech, where Whisper would invent some.
            segments, _ = self._model.transcribe(
                str(path), language=self._language or None, word_timestamps=True, vad_filter=True
            )
            for number, segment in enumerate(segments):
                words = _words(segment.words or (), offset)
                start, end = max(0.0, segment.start + offset), max(0.0, segment.end + offset)
                cues.add(f"segment {number}", start, end, segment.text, words)
        except (ValueError, RuntimeError, OSError, IndexError) as error:
            raise TranscriptError(
                f"{path}: its sound cannot be transcribed ({_first_line(error)}); check that the "
                "file is whole"
            ) from error
        return cues.transcript()


def _words(pieces: Iterable[Any], offset: float) -> list[tuple[float, str]]:
    """(start, word); a piece without a blank before it ("-known") goes on with the word before."""
    words: list[tuple[float, str]] = []
    for piece in pieces:
        if words and not piece.word[:1].isspace():
            words[-1] = (words[-1][0], words[-1][1] + piece.word.strip())
        else:
            words.append((piece.start + offset, piece.word.strip()))
    return words


def _sound_offset(path: pathlib.Path) -> float:
    """Seconds from the first picture to the first sound, where a recogniser's times begin."""
    av = extras.require("av", "video")
    try:
        with contextlib.closing(av.open(str(path), metadata_errors="replace")) as container:
            if not container.streams.audio:
                raise TranscriptError(f"{path} has no sound; give a transcript's file")
            first = (*container.streams.audio[:1], *container.streams.video[:1])
            starts = [float((s.start_time or 0) * (s.time_base or 1)) for s in first]
    except (av.error.FFmpegError, OSError) as error:
        raise TranscriptError(
            f"{path} cannot be opened as video ({error}); check that the file is whole"
        ) from error
    return starts[0] - starts[-1]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
