"""Batches of YouCook II's real lengths: packed, padded, and grouped by length.

Pieces and runs of clips are those of the pipeline; features are drawn: no length depends on them.
"""

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import alternate
from configs import base
from videobert_jax import configuration, schema
from videobert_jax.data import packing_fit
from videobert_jax.data.block import BlockBuilder
from videobert_jax.data.segments import Segment
from videobert_jax.data.writer import DatasetWriter
from videobert_jax.files import extras
from videobert_jax.schema import FeatureContract
from videobert_jax.text.tokenizer import Tokenizer
from videobert_jax.training import inputs

STRIDE = 1.5  # seconds a clip; VideoBERT (Sun et al. 2019), section 4.1
SLOTS = 3  # hidden pieces an example that are predicted, in every layout
_STORED_DIM = 2  # of the features on disk, which are all 0
_LONGEST = 512  # slots; no step is as long


class Rows(NamedTuple):
    """Examples a row, and slots of either side."""

    examples: int
    text_length: int
    video_length: int


class Slots(NamedTuple):
    """Slots an example, shares of either side's that are filled, shares of the pieces and of the
    clips cut off."""

    an_example: float
    text_filled: float
    video_filled: float
    text_cut: float
    video_cut: float


class Steps:
    """The annotated steps as a dataset below `folder`, with a tokenizer of their sentences.

    Raises BenchmarkError where the annotations cannot be read.
    """

    def __init__(self, annotations: pathlib.Path, folder: pathlib.Path, block_size: int):
        self._path, self._block_size = folder / "youcook2", block_size
        _write(annotations, self._path)
        run = self._run(Rows(1, _LONGEST, _LONGEST))
        self._sources = inputs.open_sources(run)
        self.tokenizer = Tokenizer(inputs.new_tokenizer(run, self._sources, None))
        self.num_examples = len(self._sources.splits[0])
        self.epoch = self.num_examples // block_size  # whole blocks

    def lengths(self) -> packing_fit.Lengths:
        """Of the blocks of an epoch."""
        return packing_fit.measure(self._builder(Rows(1, _LONGEST, _LONGEST)), self.epoch)

    def blocks(self, rows: Rows, count: int) -> tuple[list[schema.Batch], Slots]:
        """The first blocks `[r, ...]` of a run with these rows, features left out."""
        builder = self._builder(rows)
        built = [builder.build(k) for k in range(count)]
        blocks = [_with_slots(block.batch, SLOTS * rows.examples) for block in built]
        cut = sum(block.cut_pieces for block in built), sum(block.cut_clips for block in built)
        return blocks, _slots(blocks, count * self._block_size, cut)

    def _builder(self, rows: Rows) -> BlockBuilder:
        return inputs.block_builder(self._run(rows), self._sources, self.tokenizer)

    def _run(self, rows: Rows) -> configuration.RunConfig:
        config = base.get_config()
        config.data.path = str(self._path)
        config.data.block_size = self._block_size
        config.data.examples_per_row = rows.examples
        config.data.text_length, config.data.video_length = rows.text_length, rows.video_length
        return configuration.parse(config)


def _write(annotations: pathlib.Path, path: pathlib.Path) -> None:
    try:
        database = json.loads(annotations.read_bytes())["database"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise alternate.BenchmarkError(
            f"{annotations}: not readable ({error}); expected youcookii_annotations_trainval.json"
        ) from error
    contract = FeatureContract(
        "none", "unknown", "none", _STORED_DIM, None, None, STRIDE, "unknown", False, "float16"
    )
    writer = DatasetWriter(path, "youcook2", contract)
    for name, video in database.items():
        clips = math.ceil(video["duration"] / STRIDE)
        steps = [
            Segment(float(step["segment"][0]), float(step["segment"][1]), step["sentence"])
            for step in video["annotations"]
        ]
        writer.add_video("train", name, np.zeros((clips, _STORED_DIM), np.float16), steps)
    writer.finish()


def _with_slots(block: schema.Batch, count: int) -> schema.Batch:
    """The block with `count` slots for hidden pieces a row, and features of no dimension."""
    fields = dict(vars(block))
    for name in ("text_slots", "text_targets", "text_slot_weights"):
        missing = max(count - fields[name].shape[1], 0)
        fields[name] = np.pad(fields[name], ((0, 0), (0, missing)))[:, :count]
    fields["video_slots"] = fields["video_slots"][:, :1]
    fields["video_slot_weights"] = np.ones_like(fields["video_slots"], np.float32)
    fields["video_features"] = fields["video_features"][..., :0]
    return schema.Batch(**fields)


def _slots(blocks: Sequence[schema.Batch], examples: int, cut: tuple[int, int] = (0, 0)) -> Slots:
    sides = [
        [block.text_segment_ids for block in blocks],
        [block.video_segment_ids for block in blocks],
    ]
    slots = [sum(block.size for block in side) for side in sides]
    used = [sum(int((block > 0).sum()) for block in side) for side in sides]
    pieces = used[0] - 2 * examples  # without [CLS] and [SEP]; every step has a sentence
    return Slots(
        an_example=sum(slots) / examples,
        text_filled=used[0] / slots[0],
        video_filled=used[1] / slots[1],
        text_cut=cut[0] / (cut[0] + pieces),
        video_cut=cut[1] / (cut[1] + used[1]),
    )


def grouped(
    blocks: Sequence[schema.Batch], batch_size: int, multiple: int
) -> tuple[list[schema.Batch], Slots]:
    """Rows of one example in batches of like length, cut to the longest of each batch.

    By `get_length_grouped_indices` of transformers, as its Trainer's group_by_length does.
    Lengths are padded to a `multiple`.
    """
    trainer: Any = extras.require("transformers.trainer_pt_utils", "parity")
    torch: Any = extras.require("torch", "parity")
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)
    text, video = ((side > 0).sum(1) for side in (rows.text_segment_ids, rows.video_segment_ids))
    order = trainer.get_length_grouped_indices(
        (text + video).tolist(), batch_size, generator=torch.Generator().manual_seed(0)
    )
    batches = []
    for start in range(0, len(order) - batch_size + 1, batch_size):
        chosen = np.array(order[start : start + batch_size])
        longest = (_up(int(side[chosen].max()), multiple) for side in (text, video))
        fields = {name: values[chosen] for name, values in vars(rows).items()}
        batches.append(_trimmed(schema.Batch(**fields), *longest))
    return batches, _slots(batches, len(batches) * batch_size)


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _trimmed(rows: schema.Batch, text_length: int, video_length: int) -> schema.Batch:
    """Rows cut to these lengths."""
    fields = dict(vars(rows))
    for name in ("text_ids", "text_segment_ids", "text_positions"):
        fields[name] = fields[name][:, :text_length]
    for name in ("video_features", "video_segment_ids", "video_positions", "video_masked"):
        fields[name] = fields[name][:, :video_length]
    return schema.Batch(**fields)


def middle(batches: Sequence[schema.Batch], count: int) -> list[schema.Batch]:
    """The batches in the middle of `count` equal parts of all, which are put in order of size."""
    ordered = sorted(
        batches, key=lambda rows: (rows.text_ids.shape[1], rows.video_positions.shape[1])
    )
    ordered.sort(key=lambda rows: rows.text_ids.size + rows.video_positions.size)
    return [ordered[(2 * part + 1) * len(ordered) // (2 * count)] for part in range(count)]


def with_features(rows: schema.Batch, dim: int) -> schema.Batch:
    """Rows with random features where there are clips, 0 elsewhere."""
    generator = np.random.default_rng(0)
    features = generator.standard_normal((*rows.video_positions.shape, dim), np.float32)
    features *= (rows.video_segment_ids > 0)[..., None]
    return schema.Batch(**{**vars(rows), "video_features": features.astype(np.float16)})
