"""What 1,350 stills with sentences teach a linear map: least squares against contrast.

    python -m benchmarks.few_pairs [--dataset runs/data/youcook2_keyframes] [--json FILE]

A fifth of the training videos is held out; the rest is learnt from, by both sides from the same
averaged features and the same vectors of words. Least squares: the baseline of `eval.py`, one row a
penalty. Contrast: a linear pair into 128 dimensions with InfoNCE, one row a rule of updates and a
dropout of the features, at the best of several numbers of steps. Both sides are given their best
setting on the pairs that are counted, so neither is an estimate of what it does on others. `ratio`
is contrast's best R@10 over that of least squares. No network of this package takes part: this is
why none of them is past ridge regression (docs/results.md).
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import alternate
from benchmarks.youcook2_keyframes import DATASET
from videobert_jax.cli import failures
from videobert_jax.data import index, reader
from videobert_jax.models.heads import unit_norm
from videobert_jax.tasks import baselines, report
from videobert_jax.tasks.metrics import ranking

STEPS = (30, 100, 300, 1000)
BATCH, DIM, SCALE = 256, 128, 14.0  # SCALE: 1 / 0.07, the temperature of CLIP at its start
DROPOUTS = (0.0, 0.5, 0.8)
PENALTIES = (0.1, 1.0, 10.0, 30.0, 100.0)  # of the mean eigenvalue
RULES: dict[str, Callable[[], optax.GradientTransformation]] = {
    "AdamW 1e-3": lambda: optax.adamw(1e-3, weight_decay=0.01),
    "AdamW 1e-3, decay 1": lambda: optax.adamw(1e-3, weight_decay=1.0),
    "AdamW 1e-4": lambda: optax.adamw(1e-4, weight_decay=0.01),
    "SGD 0.1": lambda: optax.sgd(0.1, momentum=0.9),
    "SGD 1": lambda: optax.sgd(1.0, momentum=0.9),
}


class Pairs(NamedTuple):
    """Features standardised by the training rows, and vectors of words less their mean there."""

    features: np.ndarray
    words: np.ndarray


class Found(NamedTuple):
    """R@10 of text to video, and the median rank."""

    recall: float
    median_rank: float

    @classmethod
    def of(cls, scores: Any) -> "Found":
        """By the scores of every text (rows) and video, the right ones on the diagonal."""
        ranks = ranking.ranks(np.asarray(scores), np.arange(len(scores)))
        return cls(float((ranks <= 10).mean()), float(np.median(ranks)))


def load(dataset: pathlib.Path) -> tuple[Pairs, Pairs]:
    """(training, held out) out of the training split. Raises DatasetError, BenchmarkError."""
    split = index.open_dataset(dataset).split("train")
    features = np.stack([_mean(split, row) for row in range(len(split))])
    texts = split.texts(range(len(split)))
    train, held_out = baselines.held_out_rows(np.asarray(split.video), seed=0)
    vectors = baselines.WordVectors.fit([texts[row] for row in train.tolist()])
    words = vectors.transform(texts)
    mean, scale = features[train].mean(0), features[train].std(0) + 1e-6
    standard = (features - mean) / scale
    centred = words - words[train].mean(0)
    first, second = (Pairs(standard[rows], centred[rows]) for rows in (train, held_out))
    return first, second


def _mean(split: index.Split, row: int) -> np.ndarray:
    count = int(split.clip_count[row])
    if not count:
        raise alternate.BenchmarkError(f"{split.path}: example {row} of train has no clip.")
    clips = np.zeros((count, split.contract.dim), np.float16)
    places = (0, int(split.video[row]), int(split.first_clip[row]), count)
    reader.ClipReader(split, parallel_reads=1).read_into(
        clips, *(np.array([place], np.int64) for place in places)
    )
    return clips.astype(np.float32).mean(0)


def least_squares(train: Pairs, held_out: Pairs) -> dict[str, Found]:
    """Of every penalty."""
    values, vectors = np.linalg.eigh((train.features.T @ train.features).astype(np.float64))
    projected = vectors.T @ (train.features.T @ train.words)
    found = {}
    for penalty in PENALTIES:
        weights = vectors @ (projected / (np.maximum(values, 0) + penalty * values.mean())[:, None])
        predicted = baselines.unit_rows(held_out.features @ weights)
        found[f"penalty {penalty:g}"] = Found.of(baselines.unit_rows(held_out.words) @ predicted.T)
    return found


def contrast(
    train: Pairs, held_out: Pairs, rule: optax.GradientTransformation, dropout: float
) -> Iterator[Found]:
    """After each of STEPS."""
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        name: jax.random.normal(key, (values.shape[1], DIM)) / np.sqrt(values.shape[1])
        for key, name, values in zip(keys, Pairs._fields, train, strict=True)
    }
    state, sides = rule.init(params), Pairs(*map(jnp.asarray, train))

    def scores(params: Any, pairs: Pairs) -> jax.Array:
        text, video = pairs.words @ params["words"], pairs.features @ params["features"]
        return unit_norm(text) @ unit_norm(video).T

    def loss(params: Any, pairs: Pairs) -> jax.Array:
        logits = SCALE * scores(params, pairs)
        both = [jnp.diag(jax.nn.log_softmax(logits, axis)).mean() for axis in (0, 1)]
        return -sum(both) / 2

    @jax.jit
    def step(params: Any, state: Any, key: jax.Array) -> tuple[Any, Any]:
        chosen, dropped = jax.random.split(key)
        rows = jax.random.choice(chosen, len(train.words), (BATCH,), replace=False)
        features, words = (side[rows] for side in sides)
        kept = jax.random.bernoulli(dropped, 1 - dropout, features.shape)
        pairs = Pairs(jnp.where(kept, features / (1 - dropout), 0), words)
        updates, state = rule.update(jax.grad(loss)(params, pairs), state, params)
        return optax.apply_updates(params, updates), state

    for number in range(1, max(STEPS) + 1):
        params, state = step(params, state, jax.random.key(number))
        if number in STEPS:
            yield Found.of(scores(params, held_out))


def run(arguments: argparse.Namespace) -> int:
    jax.config.update("jax_platforms", "cpu")
    train, held_out = load(arguments.dataset)
    if len(train.words) < BATCH:
        raise alternate.BenchmarkError(f"{arguments.dataset}: fewer than {BATCH} pairs to learn.")
    print(f"{len(train.words)} pairs to learn from, {len(held_out.words)} held out")
    squares = least_squares(train, held_out)
    found = {f"least squares, {name}": (of, None) for name, of in squares.items()}
    contrasts: list[Found] = []
    for name, rule in RULES.items():
        for dropout in DROPOUTS:
            after = list(contrast(train, held_out, rule(), dropout))
            contrasts += after
            best = max(range(len(STEPS)), key=lambda place, after=after: after[place].recall)
            found[f"contrast, {name}, dropout {dropout:g}"] = (after[best], STEPS[best])
    rows = [("", "R@10 %", "median rank", "steps")]
    for name, (of, steps) in found.items():
        rows.append((name, f"{100 * of.recall:.1f}", f"{of.median_rank:g}", str(steps or "")))
    print(report.aligned(rows))
    best_squares, best_contrast = (
        max(of.recall for of in s) for s in (squares.values(), contrasts)
    )
    record = {
        "benchmark": "few_pairs",
        "ratio": best_contrast / best_squares,
        "figures": {
            "settings": {name: {**of._asdict(), "steps": n} for name, (of, n) in found.items()},
            "best_median_rank_of_least_squares": min(of.median_rank for of in squares.values()),
            "best_median_rank_of_contrast": min(of.median_rank for of in contrasts),
        },
        **alternate.circumstances(["optax"]),
    }
    alternate.write(record, arguments.json)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=pathlib.Path, default=DATASET)
    parser.add_argument("--json", help="file of the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
