"""Fit of visual words against scikit-learn's MiniBatchKMeans, node by node.

    python -m benchmarks.visual_words [--json FILE]

12 branches, 4 levels (VideoBERT's) on 200,000 made features of 1024 dimensions: a tree of Gaussians
of the same form, on which neither side is told where the nodes are. The peer is fitted node by node
with its own defaults and follows the same tree. `ratio` is features a second, ours over the peer's,
over whole fits in alternating runs; `error_ratio` is our squared distance from the leaf over the
peer's, 1 or less where ours is as good. Peak memory is of this process, both sides within.
"""

import argparse
import resource
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import alternate
from videobert_jax.data import clip_stream
from videobert_jax.files import extras
from videobert_jax.schema import FeatureContract
from videobert_jax.sharding import mesh
from videobert_jax.video import hierarchical_kmeans

BRANCHING, DIM = 12, 1024


def features(count: int, depth: int, seed: int = 0) -> np.ndarray:
    """Features float16 [count, DIM] around the leaves of a tree, each level nearer together."""
    generator = np.random.default_rng(seed)
    centres = np.zeros((1, DIM), np.float32)
    for level in range(depth):
        shape = (len(centres), BRANCHING, DIM)
        step = generator.standard_normal(shape, np.float32) * 0.7**level
        centres = (centres[:, None] + step).reshape(-1, DIM)
    leaves = generator.integers(len(centres), size=count)
    out = np.empty((count, DIM), np.float16)
    for start in range(0, count, 1 << 14):
        part = leaves[start : start + (1 << 14)]
        noise = generator.standard_normal((len(part), DIM), np.float32) * 0.5
        out[start : start + len(part)] = centres[part] + noise
    return out


class Ours:
    """Rate of a whole fit, and the error of the last one."""

    def __init__(self, data: np.ndarray, depth: int):
        self.data, self.depth, self.error, self.fits = data, depth, 0.0, 0

    def __call__(self) -> float:
        start = time.perf_counter()
        self.fits += 1
        step = clip_stream.CLIPS_AT_A_TIME
        contract = FeatureContract("", "", "", DIM, None, None, 1.5, "", False, "float16")
        words = hierarchical_kmeans.fit(
            lambda: (self.data[i : i + step] for i in range(0, len(self.data), step)),
            len(self.data),
            self.data.mean(0, dtype=np.float32),
            contract,
            hierarchical_kmeans.Settings(BRANCHING, self.depth, seed=self.fits),
            mesh.create_mesh(mesh.MeshConfig(-1, 1, 1)),
            {},
        )
        self.error = words.about["figures"][-1]["quantisation_error"]
        return len(self.data) / (time.perf_counter() - start)


class Peer:
    """The same of scikit-learn's: one MiniBatchKMeans a node that has enough points."""

    def __init__(self, data: np.ndarray, depth: int):
        self.data, self.depth, self.error, self.fits = data, depth, 0.0, 0

    def __call__(self) -> float:
        cluster = extras.require("sklearn.cluster", "parity")
        start = time.perf_counter()
        self.fits += 1
        values = self.data.astype(np.float32)
        values -= values.mean(0)
        nodes = np.zeros(len(values), np.int64)
        for level in range(self.depth):
            order = np.argsort(nodes, kind="stable")
            present, first = np.unique(nodes[order], return_index=True)
            children, self.error = nodes * BRANCHING, 0.0
            for members in np.split(order, first[1:]):
                points = values[members]
                fitted = cluster.MiniBatchKMeans(
                    min(BRANCHING, len(points)), random_state=self.fits
                ).fit(points)
                label = fitted.predict(points)
                children[members] += label
                self.error += float(np.square(points - fitted.cluster_centers_[label]).sum())
            nodes, self.error = children, self.error / len(values)
            print(f"peer: level {level + 1}, {len(present):,} nodes", flush=True)
        return len(values) / (time.perf_counter() - start)


def measure(count: int, depth: int, rounds: int) -> dict[str, Any]:
    """The benchmark's record. Raises MissingExtra without scikit-learn."""
    extras.require("sklearn.cluster", "parity")
    data = features(count, depth)
    ours, peer = Ours(data, depth), Peer(data, depth)
    rates = alternate.run(ours, {"sklearn": peer}, rounds=rounds)
    return alternate.record(
        "visual_words",
        rates,
        "features/s",
        ["sklearn"],
        {
            "features": count,
            "words": BRANCHING**depth,
            "quantisation_error": ours.error,
            "peer_quantisation_error": peer.error,
            "error_ratio": ours.error / peer.error,
            "seconds": count / rates.ours_median,
            "peer_seconds": count / rates.peer_median,
            "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "devices": jax.device_count(),
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--features", type=int, default=200_000)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args(arguments)
    alternate.write(measure(given.features, given.depth, given.rounds), given.json)


if __name__ == "__main__":
    main()
