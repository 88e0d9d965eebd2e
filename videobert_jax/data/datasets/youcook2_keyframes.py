"""1,800 stills of YouCook II with the sentence of their step, and 1,736 speech transcripts.

Splits: train (1,350 stills of 450 videos), validation (450 stills of 150 videos), transcripts
(text alone, all 1,736 videos) and transcripts_train (those of them whose videos are outside
YouCook II's validation subset and the validation split here: take it where results on validation
must not have seen their videos' words). A still is one clip of its video, in the order of time.
Its feature is I3D's with the temporal kernels folded into their centre tap: objects are in it,
motion is not, so it is no measure of action recognition. Transcripts have no times; they are cut
into windows of whole sentences.
"""

import gzip
import itertools
import pathlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from videobert_jax.data import datasets, index, writer
from videobert_jax.files import arrays, json_values
from videobert_jax.schema import UNKNOWN, FeatureContract

HELP = "1,800 YouCook II stills with sentences, and 1,736 transcripts (--source: youcook2/)"
NAME = "youcook2_keyframes"
NOTES = (
    "1,800 stills of YouCook II, each with the sentence of its step, and 1,736 speech transcripts "
    "as text alone; transcripts_train leaves out the videos of the validation subset. The features "
    "are of stills: objects are in them, motion is not, so they measure no action recognition."
)
WINDOW_WORDS = 20  # about 26 pieces: with [CLS] and [SEP] they fit a text length of 32
_LONGEST_LINE = 4 << 20  # characters; a few bytes of gzip may unpack to any number of them
SPLITS = {"training": "train", "validation": "validation"}
FILES = (
    "keyframe_pairs.json",
    "keyframe_i3d_kinetics400.npz",
    "transcripts.jsonl.gz",
    "youcookii_annotations_trainval.json",
)
CONTRACT = FeatureContract(
    backbone="i3d_kinetics400",
    weights_sha256=UNKNOWN,
    layer="Mixed_5c, mean over space, temporal kernels folded into their centre tap",
    dim=1024,
    fps=None,
    frames_per_clip=1,
    stride_seconds=0.0,
    crop=UNKNOWN,
    normalised=False,
    dtype="float16",
)


@datasets.published
def prepare(source: pathlib.Path | None, output: pathlib.Path) -> index.Dataset:
    """Dataset of the youcook2 files in `source`, written to `output`.

    Raises DatasetError where a file is missing, damaged or empty, or a pair has no feature.
    """
    pair_file, feature_file, transcript_file, annotation_file = datasets.source_files(source, FILES)
    pairs = datasets.read_json(pair_file, list)
    annotations = datasets.read_json(annotation_file, dict)["database"]
    features = _read_features(feature_file)
    if missing := [pair["key"] for pair in pairs if pair["key"] not in features]:
        raise index.DatasetError(
            f"{feature_file}: no features of {len(missing)} pairs, the first {missing[0]}; fetch "
            f"it and {pair_file.name} anew"
        )
    transcripts = list(_read_transcripts(transcript_file))
    held_out = {pair["video"] for pair in pairs if SPLITS[pair["split"]] == "validation"}
    held_out |= {name for name, video in annotations.items() if video["subset"] == "validation"}
    out = writer.DatasetWriter(
        output,
        NAME,
        CONTRACT,
        metadata={"regime": "text_video", "notes": NOTES},
        num_videos={"transcripts": len(transcripts)},
    )
    for (split, video), group in _group_by_video(pairs).items():
        stills = np.stack([features[pair["key"]] for pair in group])
        segments = [
            writer.Segment(pair["start"], pair["end"], pair["sentence"], clips=(clip, 1))
            for clip, pair in enumerate(group)
        ]
        out.add_video(split, video, stills, segments)
    for transcript in transcripts:
        segments = [writer.Segment(0, 0, text) for text in windows(transcript["sentences"])]
        out.add_video("transcripts", transcript["video_id"], None, segments)
        if transcript["video_id"] not in held_out:
            out.add_video("transcripts_train", transcript["video_id"], None, segments)
    return out.finish()


def windows(sentences: Iterable[str], most_words: int = WINDOW_WORDS) -> Iterator[str]:
    """Texts of up to `most_words` words: neighbouring sentences joined, a longer one cut evenly."""
    window: list[str] = []
    for sentence in sentences:
        words = sentence.split()
        pieces = max(1, -(-len(words) // most_words))
        bounds = [len(words) * i // pieces for i in range(pieces + 1)]
        for begin, end in itertools.pairwise(bounds):
            if window and len(window) + end - begin > most_words:
                yield " ".join(window)
                window = []
            window += words[begin:end]
    if window:
        yield " ".join(window)


def _group_by_video(pairs: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for pair in pairs:
        groups.setdefault((SPLITS[pair["split"]], pair["video"]), []).append(pair)
    return {key: sorted(group, key=lambda pair: pair["start"]) for key, group in groups.items()}


def _read_features(file: pathlib.Path) -> dict[str, np.ndarray]:
    archive = arrays.read_npz(file)
    if not {"keys", "features"} <= set(archive):
        raise index.DatasetError(
            f"{file}: arrays {', '.join(archive)}, expected keys and features; fetch it anew"
        )
    return dict(zip(archive["keys"].tolist(), archive["features"], strict=True))


def _read_transcripts(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    count = 0
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            while line := lines.readline(_LONGEST_LINE):
                count += 1
                if len(line) == _LONGEST_LINE:
                    raise ValueError(f"a line of {_LONGEST_LINE:,} characters or more")
                yield json_values.parse(line)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise index.DatasetError(f"{file}: damaged behind line {count} ({error})") from error
    if not count:
        raise index.DatasetError(
            f"{file}: the file is empty, expected one transcript a line; fetch it anew"
        )
