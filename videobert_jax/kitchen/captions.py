"""The embedded corpus with its captions in one form: "slice the carrot on the board".

The clips, steps and labels of the exact splits of `kitchen.dataset`, with the captions of
`kitchen.ground_truth` in the place of the sentences: train (the videos of `train_steps`),
validation, test, test_unseen_backgrounds, test_unseen_pairs. Networks learn to write captions here
of which it can be said whether verb, object and container are right.
"""

import pathlib

from videobert_jax.data import index, writer
from videobert_jax.kitchen import assets, dataset, ground_truth
from videobert_jax.kitchen.assets import VideoRecord

HELP = "the embedded corpus with captions in one form (no source needed)"
NAME = "kitchen_captions"


def prepare(output: pathlib.Path) -> index.Dataset:
    """Dataset of the shipped assets, written to `output`.

    Raises AssetsError where they are damaged, DatasetError where `output` holds something else.
    """
    shipped = assets.load()
    metadata = dataset.metadata(notes=__doc__ or "")
    out = writer.DatasetWriter(output, NAME, shipped.contract, metadata=metadata)
    for video in shipped.videos:
        out.add_video(video.split, video.name, video.features, _captions(video))
    return out.finish()


def _captions(video: VideoRecord) -> list[writer.Segment]:
    return dataset.segments(video, [ground_truth.caption(step) for step in video.steps])
