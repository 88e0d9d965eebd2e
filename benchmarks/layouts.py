"""The same examples in the layouts that the sides of `benchmarks.on_device` take."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from benchmarks import real_lengths, rows
from benchmarks.rows import Rows
from videobert_jax import configuration, schema
from videobert_jax.data import packing_fit

FEATURE_DIM = 1024
_MULTIPLE = 8  # of lengths: tensor cores want it, and so do the kernels of attention
_MOST_CUT = 0.01  # of pieces and of clips
_LONGEST = 512


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured. batches: of each layout, which stand for an epoch's."""

    run: configuration.RunConfig
    blocks: int
    batches: int
    repeats: int  # of the batches, a run
    rounds: int
    annotations: pathlib.Path | None
    profile: pathlib.Path | None

    @property
    def numbers(self) -> list[int]:
        """Batches of one run."""
        return list(range(self.batches)) * self.repeats


Layouts = dict[str, list[schema.Batch]]  # batches [blocks, r, ...] by "full", "packed", ...


def make(settings: Settings, with_peers: bool) -> Layouts:
    """The layout that ours packs, and with peers those of rows of one example. "full" is of rows
    that it fills, in one block: they have more slots than any others."""
    data, found = settings.run.data, {}
    if with_peers:
        full = Rows(1, data.text_length, data.video_length)
        lengths = real_lengths.equal(full, data.block_size, settings.batches)
        found["full"] = _batches(settings, lengths, full)
    if settings.annotations is None:
        shape = Rows(data.examples_per_row, data.text_length, data.video_length)
        count = settings.batches * settings.blocks
        lengths = real_lengths.equal(shape, data.block_size, count)
        return {**found, "packed": _batches(settings, lengths, shape)}
    lengths = real_lengths.of_annotations(
        settings.annotations, data.vocabulary_size, data.block_size
    )
    packed, padded = fitted(lengths, settings.run.model.embed_dim)
    print(f"packed rows: {packed}; padded rows: {padded}")
    found["packed"] = _batches(settings, lengths, packed)
    if with_peers:
        found["padded"] = _batches(settings, lengths, padded)
        single = [_block(settings, lengths, padded, k) for k in range(len(lengths.text))]
        grouped, _ = rows.grouped(single, settings.blocks * data.block_size, _MULTIPLE)
        found["bucketed"] = [_stacked([b]) for b in rows.middle(grouped, settings.batches)]
    return found


def _batches(settings: Settings, lengths: packing_fit.Lengths, shape: Rows) -> list[schema.Batch]:
    """As many batches as are asked for, of `settings.blocks` blocks where there are as many."""
    count = min(settings.batches * settings.blocks, len(lengths.text))
    blocks = [_block(settings, lengths, shape, k) for k in range(count)]
    return [_stacked(blocks[k :: settings.batches]) for k in range(settings.batches)]


def _block(
    settings: Settings, lengths: packing_fit.Lengths, shape: Rows, number: int
) -> schema.Batch:
    size = settings.run.data.vocabulary_size
    of_block = lengths.text[number], lengths.video[number]
    return real_lengths.block_of(*of_block, shape, size, FEATURE_DIM)


def fitted(lengths: packing_fit.Lengths, embed_dim: int) -> tuple[Rows, Rows]:
    """(rows of several examples, rows of one) that cut at most one in a hundred."""
    block = lengths.block_size
    candidates = [
        packing_fit.fit(
            lengths, number, multiple=_MULTIPLE, most_cut=_MOST_CUT, embed_dim=embed_dim
        )
        for number in (1, 2, 4, 8, 16, 32)
        if block % number == 0
    ]
    short = [c for c in candidates if max(c.text.capacity, c.video.capacity) <= _LONGEST]
    packed, padded = (
        Rows(c.examples, c.text.capacity, c.video.capacity)
        for c in (packing_fit.choose(short), candidates[0])
    )
    return packed, padded


def _stacked(blocks: Sequence[schema.Batch]) -> schema.Batch:
    return jax.tree.map(lambda *parts: np.stack(parts), *blocks)
