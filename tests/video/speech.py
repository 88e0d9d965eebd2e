"""A stand-in for faster-whisper with its interface, as version 1.2.1 has it: what it hears is given
by the test."""

import dataclasses
import types
from collections.abc import Iterable, Iterator
from typing import Any


@dataclasses.dataclass
class Word:
    start: float
    end: float
    word: str
    probability: float = 1.0


@dataclasses.dataclass
class Segment:
    start: float
    end: float
    text: str
    words: list[Word] | None


def segment(*words: tuple[float, float, str]) -> Segment:
    """A segment of words (start, end, text with the blank that Whisper writes before it)."""
    listed = [Word(*word) for word in words]
    return Segment(words[0][0], words[-1][1], "".join(w.word for w in listed), listed)


class Package(types.ModuleType):
    """The module; `calls` are (path, options) of each transcription, `loaded` of each model."""

    def __init__(self, heard: Iterable[Segment] | Exception, broken_model: Exception | None = None):
        super().__init__("faster_whisper")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.loaded: list[tuple[str, str, str]] = []
        package = self

        class WhisperModel:
            def __init__(
                self, model_size_or_path: str, device: str = "auto", compute_type: str = "default"
            ):
                if broken_model is not None:
                    raise broken_model
                package.loaded.append((model_size_or_path, device, compute_type))

            def transcribe(
                self,
                audio: str,
                language: str | None = None,
                word_timestamps: bool = False,
                vad_filter: bool = False,
            ) -> tuple[Iterator[Segment], Any]:
                options = {"language": language, "words": word_timestamps, "vad": vad_filter}
                package.calls.append((audio, options))

                def segments() -> Iterator[Segment]:  # it is computed while one iterates
                    if isinstance(heard, Exception):
                        raise heard
                    yield from heard

                return segments(), types.SimpleNamespace(language=language or "en")

        self.WhisperModel = WhisperModel
