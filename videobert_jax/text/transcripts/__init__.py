"""Transcripts of any form as timed cues, and cues as sentences."""

from videobert_jax.text.transcripts.cue import Cue, Transcript, TranscriptError
from videobert_jax.text.transcripts.reading import holds_many, read_transcript, read_transcripts

__all__ = [
    "Cue",
    "Transcript",
    "TranscriptError",
    "holds_many",
    "read_transcript",
    "read_transcripts",
]
