"""METEOR 1.5 of captions by pycocoevalcap's own program, where it and Java are installed.

There is no other METEOR here: its paraphrase table and synonyms are part of the figure.
"""

import dataclasses
import shutil
import threading
from typing import Any

import numpy as np

from videobert_jax.tasks.metrics.caption_pairs import CaptionPairs

NAME = "METEOR"


@dataclasses.dataclass(frozen=True)
class Meteor:
    """value: of the corpus, or None with the reason why there is none; examples: float64 [n]."""

    value: float | None
    examples: np.ndarray | None
    reason: str | None


def score(pairs: CaptionPairs) -> Meteor:
    """METEOR of candidates beside their references."""
    if shutil.which("java") is None:
        return Meteor(None, None, "METEOR needs Java, and there is no `java` on the PATH")
    try:
        from pycocoevalcap.meteor.meteor import Meteor as Program  # pyright: ignore[reportMissingImports] (of test-parity)
    except ImportError as error:
        return Meteor(None, None, f"METEOR needs pycocoevalcap (pip install it): {error}")
    keys = range(len(pairs.ids))
    references = {key: list(pairs.references[key]) for key in keys}
    candidates = {key: [pairs.candidates[key]] for key in keys}
    program: Any = Program()
    # it writes more to its error stream than a pipe holds where nobody reads
    reader = threading.Thread(target=program.meteor_p.stderr.read, daemon=True)
    reader.start()
    try:
        value, examples = program.compute_score(references, candidates)
    except (OSError, ValueError) as error:
        if program.lock.locked():
            program.lock.release()  # else its end waits for it for ever
        return Meteor(None, None, f"pycocoevalcap's METEOR failed: {error}")
    return Meteor(float(value), np.array(examples, np.float64), None)
