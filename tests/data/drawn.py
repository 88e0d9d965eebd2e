"""A small dataset whose features are drawn at random, for tests."""

import numpy as np

from videobert_jax.data import writer

DIM = 24
VIDEO_CLIPS = {"train": (1, 16, 17, 40, 5, 33), "test": (20, 3)}


def drawn_videos(split: str) -> dict[str, np.ndarray]:
    """Features by video name, every value of its own."""
    draws = np.random.default_rng(len(split))
    return {
        f"{split}{number}": (3.0 * draws.standard_normal((clips, DIM)) + 1.0).astype(np.float16)
        for number, clips in enumerate(VIDEO_CLIPS[split])
    }


def drawn_segments(name: str, clips: int) -> list[writer.Segment]:
    """A captioned step, one without a caption, and one over the whole video."""
    verb = "stir" if clips % 2 else "cut"
    return [
        writer.Segment(0.0, 1.6, f"{verb} the crème of {name}", {"verb": verb}),
        writer.Segment(1.6, 4.0, ""),
        writer.Segment(0.0, 1.6 * clips, f"  all of {name} ", {"object": "crème"}),
    ]


def fill(out: writer.DatasetWriter) -> None:
    for split in VIDEO_CLIPS:
        for name, features in drawn_videos(split).items():
            out.add_video(split, name, features, drawn_segments(name, len(features)))
    out.add_video(
        "spoken", "talk", None, [writer.Segment(0, 0, "hello"), writer.Segment(0, 0, "é")]
    )
