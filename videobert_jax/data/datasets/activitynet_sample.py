"""Ten ActivityNet Captions videos: I3D features of moving clips and 32 timed sentences.

Splits: train, the first 8 videos of the caption file; validation, the last 2. Ten videos try the
whole way of the data on real input; figures measured on them say nothing.
"""

import pathlib

import numpy as np

from videobert_jax.data import datasets, index, writer
from videobert_jax.files import arrays
from videobert_jax.schema import UNKNOWN, FeatureContract

HELP = "10 ActivityNet videos with I3D features and 32 timed sentences (--source: activitynet/)"
NAME = "activitynet_sample"
NUM_VALIDATION_VIDEOS = 2
NOTES = (
    "10 ActivityNet Captions videos, I3D RGB features and 32 timed sentences. Splits: train, the "
    "first 8 videos of the caption file; validation, the last 2. They try the whole way of the "
    "data on real input; figures measured on them say nothing."
)


@datasets.published
def prepare(source: pathlib.Path | None, output: pathlib.Path) -> index.Dataset:
    """Dataset of `captions.json` and `i3d_rgb.npz` in `source`, written to `output`.

    Raises DatasetError where a file is missing, damaged or empty, where a video has captions but
    no features, and where the features are not 1024 wide.
    """
    caption_file, feature_file = datasets.source_files(source, ("captions.json", "i3d_rgb.npz"))
    captions = datasets.read_json(caption_file, dict)
    features = arrays.read_npz(feature_file)
    if missing := [video for video in captions if video not in features]:
        raise index.DatasetError(
            f"{feature_file}: no features of {', '.join(missing)}, which {caption_file.name} has "
            "captions of; fetch both files anew"
        )
    strides = {float(video["feature_seconds"]) for video in captions.values()}
    if len(strides) != 1:
        raise index.DatasetError(
            f"{caption_file}: feature_seconds of {sorted(strides)}, expected one value for all"
        )
    contract = FeatureContract(
        backbone="i3d_kinetics400",
        weights_sha256=UNKNOWN,
        layer="Mixed_5c, mean over time and space",
        dim=1024,
        fps=None,
        frames_per_clip=None,
        stride_seconds=strides.pop(),
        crop=UNKNOWN,
        normalised=False,
        dtype="float16",
    )
    names = list(captions)
    first_validation = max(1, len(names) - NUM_VALIDATION_VIDEOS)
    out = writer.DatasetWriter(
        output,
        NAME,
        contract,
        metadata={"regime": "text_video", "notes": NOTES},
    )
    for number, name in enumerate(names):
        video = captions[name]
        segments = [
            writer.Segment(start, end, sentence)
            for (start, end), sentence in zip(video["timestamps"], video["sentences"], strict=True)
        ]
        split = "train" if number < first_validation else "validation"
        out.add_video(split, name, features[name].astype(np.float16), segments)
    return out.finish()
