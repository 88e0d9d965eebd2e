"""Speed of packed rows on real lengths: against padding, against length groups, against LXMERT.

    python -m benchmarks.packing --annotations youcookii_annotations_trainval.json [--json FILE]

The steps of YouCook II, a clip every 1.5 s. Row capacities are fitted by `data.packing_fit`. Every
side takes training steps (forward, backward, clipping, AdamW; float32) of 64 examples with one
network: ours packed, in rows out of blocks of 256, ours padded to 48 pieces and 48 clips, ours in
batches of like length, and LXMERT of transformers in both, grouped as its Trainer groups
(`group_by_length`); grouped LXMERT also in halves of a batch, whose gradients are summed, for these
are more alike in length.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import statistics
import sys
import tempfile
from typing import Any

import jax

from benchmarks import alternate, lxmert, our_step, rows
from benchmarks.rows import Rows, Slots
from videobert_jax import schema
from videobert_jax.cli import failures
from videobert_jax.data import packing_fit

TARGETS = {
    "ratio": 2.5,  # ours packed by ours padded
    "ratio_over_lxmert": 3.2,
    "ratio_over_lxmert_bucketed": 1.5,
    "slots_filled": 0.90,  # or more, of either side
    "tokens_cut": 0.01,  # or less, of either side
}
BLOCK = 256  # examples that are packed together
STEP = 64  # examples a step
PADDED = Rows(1, 48, 48)
PARTS = 2  # of a batch of grouped LXMERT
_MULTIPLE = 8  # of lengths of ours, of which each is compiled
_FEATURE_DIM = 1024
_EQUAL = 0.02  # by which FLOPs of the two padded sides may differ


@dataclasses.dataclass(frozen=True)
class Side:
    """Batches of one layout that stand for an epoch's, and what an epoch has of slots."""

    batches: list[schema.Batch]
    slots: Slots


def fit(steps: rows.Steps) -> tuple[Rows, Rows]:
    """(packed rows, rows of one example) that cut at most one in a hundred."""
    lengths = steps.lengths()
    numbers = [number for number in range(1, BLOCK) if BLOCK % number == 0]
    candidates = [
        packing_fit.fit(
            lengths,
            number,
            multiple=_MULTIPLE,
            most_cut=TARGETS["tokens_cut"],
            embed_dim=lxmert.Sizes.embed_dim,
        )
        for number in numbers
    ]
    short = [c for c in candidates if max(c.text.capacity, c.video.capacity) <= 512]
    found = [
        Rows(c.examples, c.text.capacity, c.video.capacity)
        for c in (packing_fit.choose(short), candidates[0])
    ]
    return found[0], found[1]


def sides_of(steps: rows.Steps, count: int) -> dict[str, Side]:
    """Every layout in `count` batches."""
    packed, single = fit(steps)
    print(f"packed rows: {packed}; rows of one example that are grouped: {single}")
    blocks, slots = steps.blocks(packed, steps.epoch)
    sides = {"packed": Side(_steps_of(blocks[:count]), slots)}
    blocks, slots = steps.blocks(PADDED, steps.epoch)
    sides["padded"] = Side(_steps_of(blocks[:count]), slots)
    blocks, cut = steps.blocks(single, steps.epoch)
    for name, size, multiple, number in (
        ("grouped", STEP, _MULTIPLE, count),
        ("grouped, exact lengths", STEP, 1, count),
        ("grouped in halves", STEP // PARTS, 1, PARTS * count),
    ):
        batches, slots = rows.grouped(blocks, size, multiple)
        slots = slots._replace(text_cut=cut.text_cut, video_cut=cut.video_cut)
        sides[name] = Side(rows.middle(batches, number), slots)
    for name, side in sides.items():
        slots = side.slots
        print(
            f"  {name}: {slots.an_example:.1f} slots an example; filled {slots.text_filled:.1%} "
            f"and {slots.video_filled:.1%}; cut {slots.text_cut:.2%} of the pieces, "
            f"{slots.video_cut:.2%} of the clips"
        )
    return {
        name: Side([rows.with_features(b, _FEATURE_DIM) for b in side.batches], side.slots)
        for name, side in sides.items()
    }


def _steps_of(blocks: list[schema.Batch]) -> list[schema.Batch]:
    """The first rows of every block: as many as a step takes."""
    return [
        jax.tree.map(lambda values: values[: len(values) * STEP // BLOCK], block)
        for block in blocks
    ]


def compare(sides: dict[str, Side], vocabulary: int, rounds: int) -> tuple[alternate.Rates, dict]:
    """(rates of all sides in turn, what was compared). Raises BenchmarkError where the networks of
    the two padded sides do unequal work."""
    layouts = {name: sides[name].batches for name in ("padded", "packed", "grouped")}
    longest = [max(b.text_ids.shape[1] for b in layouts["packed"] + layouts["padded"])]
    longest += [max(b.video_positions.shape[1] for b in layouts["packed"] + layouts["padded"])]
    sizes = lxmert.Sizes(
        vocabulary=vocabulary, rows=1, text_length=longest[0], video_length=longest[1]
    )
    of_ours = [
        jax.tree.map(lambda values: values[None], batch)
        for batches in layouts.values()
        for batch in batches
    ]
    ours = our_step.ours_like_lxmert(sizes, of_ours)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    peer = lxmert.Peer(sizes, threads=cores or 1)
    as_peers = {
        name: [peer.batch_of(batch) for batch in sides[name].batches]
        for name in ("padded", "grouped, exact lengths", "grouped in halves")
    }
    flops = {"ours": ours.flops, "LXMERT": peer.flops(as_peers["padded"][0])}
    if abs(flops["ours"] / flops["LXMERT"] - 1) > _EQUAL:
        raise alternate.BenchmarkError(f"padded, the sides do unequal work: FLOPs {flops}")
    count = len(layouts["packed"])
    halves = as_peers["grouped in halves"]
    numbers = {
        name: list(range(place * count, (place + 1) * count)) for place, name in enumerate(layouts)
    }
    rates = alternate.run(
        functools.partial(ours.rate, numbers["packed"]),
        {"padded": functools.partial(ours.rate, numbers["padded"])},
        rounds=rounds,
        references={
            "grouped": functools.partial(ours.rate, numbers["grouped"]),
            "LXMERT padded": functools.partial(peer.rate, [[b] for b in as_peers["padded"]]),
            "LXMERT grouped": functools.partial(
                peer.rate, [[b] for b in as_peers["grouped, exact lengths"]]
            ),
            "LXMERT grouped in halves": functools.partial(
                peer.rate, [halves[number::count] for number in range(count)]
            ),
        },
    )
    return rates, {"flops_a_padded_step": flops, "parameters": ours.num_parameters}


def figures_of(rates: alternate.Rates, sides: dict[str, Side]) -> dict[str, Any]:
    """Ratios of medians, ours packed on top, and slots."""
    medians = {name: statistics.median(runs) for name, runs in rates.references.items()}
    grouped = max(medians["LXMERT grouped"], medians["LXMERT grouped in halves"])
    packed = sides["packed"].slots
    return {
        "ratio_over_bucketed": rates.ours_median / medians["grouped"],
        "ratio_over_lxmert": rates.ours_median / medians["LXMERT padded"],
        "ratio_over_lxmert_bucketed": rates.ours_median / grouped,
        "slots_filled": min(packed.text_filled, packed.video_filled),
        "tokens_cut": max(packed.text_cut, packed.video_cut),
        "layouts": {name: side.slots._asdict() for name, side in sides.items()},
        "runs": rates.references,
        "targets": TARGETS,
    }


def run(arguments: argparse.Namespace) -> int:
    """0; 1 where a figure misses its target."""
    jax.config.update("jax_platforms", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        steps = rows.Steps(arguments.annotations, pathlib.Path(folder), BLOCK)
        sides = sides_of(steps, arguments.steps)
        vocabulary = -(-steps.tokenizer.size // 128) * 128
    rates, compared = compare(sides, vocabulary, arguments.rounds)
    figures = {**figures_of(rates, sides), **compared}
    modules = ["flax", "optax", "torch", "transformers"]
    record = alternate.record("packing", rates, "examples/s", modules, figures)
    alternate.write(record, arguments.json)
    found = {"ratio": rates.ratio, **{name: figures[name] for name in list(TARGETS)[1:]}}
    reached = True
    for name, target in TARGETS.items():
        good = found[name] <= target if name == "tokens_cut" else found[name] >= target
        reached &= good
        print(f"{name} {found[name]:.3f}, target {target}{'' if good else ': missed'}")
    return 0 if reached else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--annotations",
        type=pathlib.Path,
        required=True,
        help="youcookii_annotations_trainval.json, the official annotation",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="batches of each layout, a run")
    parser.add_argument("--json", help="file for the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
