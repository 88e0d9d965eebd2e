"""A folder of sentences, a WebVTT file a video, that is filled step by step and can be stopped."""

import json
import pathlib
from typing import Any

from videobert_jax.files import atomic, json_values
from videobert_jax.text.transcripts import sentences, subtitles
from videobert_jax.text.transcripts.cue import Transcript, TranscriptError

FAILURES_FILE = "failures.jsonl"
_LONGEST_NAME = 200  # bytes; file systems take 255, and a file is first written under a longer one


class SentenceFolder:
    """`VIDEO.vtt` a video, and failures.jsonl: each cue, file or video left out, with its reason.

    A video whose file is there is finished. What was told of others is forgotten when the folder
    is opened, for they are tried anew.
    """

    def __init__(self, folder: pathlib.Path):
        """Raises TranscriptError where the folder is a file."""
        if folder.exists() and not folder.is_dir():
            raise TranscriptError(f"{folder} is a file, expected a folder to write sentences to")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.videos = self.sentences = 0  # written since the folder was opened
        self.failed: set[str] = set()
        self._log = folder / FAILURES_FILE
        kept = [failure for failure in self.failures() if self.has(str(failure.get("video")))]
        if kept:
            atomic.write_text(self._log, "".join(map(_line, kept)))
        else:
            self._log.unlink(missing_ok=True)

    def path(self, video: str) -> pathlib.Path:
        return self.folder / f"{video}.vtt"

    def has(self, video: str) -> bool:
        """Whether the video is finished."""
        return not _unfit(video) and self.path(video).is_file()

    def add(
        self, video: str, transcript: Transcript, stage: str, source: str, keep_silent: bool = False
    ) -> None:
        """Writes a video's sentences; what was dropped of it, and silence, are told as failures.

        `stage` and `source` say where they are from. `keep_silent`: a video in which nothing is
        said gets a file without cues, where finding that out anew would take long.
        """
        if reason := _unfit(video):
            self.fail(video, stage, f"{source}: {reason}")
            return
        for reason in transcript.dropped:
            self.tell(video, stage, f"{source}: {reason}")
        said = sentences.of_transcript(transcript)
        if not said:
            self.fail(video, stage, f"{source}: nothing is said in it")
        if said or keep_silent:
            # Behind the failures: whoever is stopped between them tells them once more, not never.
            atomic.write_text(self.path(video), subtitles.write_webvtt(said, are_sentences=True))
            self.videos += bool(said)
            self.sentences += len(said)
            self.failed -= {video} if said else set()

    def tell(self, video: str, stage: str, reason: str) -> None:
        """A line of failures.jsonl."""
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(_line({"video": video, "stage": stage, "reason": reason}))

    def fail(self, video: str, stage: str, reason: str) -> None:
        """Tells of a video that got no sentences."""
        self.failed.add(video)
        self.tell(video, stage, reason)

    def failures(self) -> list[dict[str, Any]]:
        """All that failures.jsonl holds; a line that an interruption cut off is passed over."""
        if not self._log.is_file():
            return []
        found = []
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json_values.parse(line)
            except ValueError:
                continue
            found += [entry] if isinstance(entry, dict) else []
        return found


def _line(failure: dict[str, Any]) -> str:
    return json.dumps(failure, ensure_ascii=True) + "\n"


def _unfit(video: str) -> str:
    """Why a video cannot name a file; empty where it can."""
    if not video or video.strip(".") == "" or any(c in "/\\" or not c.isprintable() for c in video):
        return f"{video[:60]!r} cannot be the name of a file; rename the video"
    if len(video.encode("utf-8", "replace")) > _LONGEST_NAME:
        return f"a name of {len(video):,} characters; expected {_LONGEST_NAME} bytes at most"
    return ""
