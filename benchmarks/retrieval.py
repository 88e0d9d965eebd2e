"""Ranks of retrieval in blocks against NumPy's argpartition of the full matrix.

    python -m benchmarks.retrieval [--json FILE]

50,000 texts and 50,000 videos of 512 dimensions, drawn, text to video. Ours is what eval.py runs:
every rank, so all recalls, median and mean. The peer multiplies, takes the 50 best by argpartition
and sorts those, which gives the recalls alone; they are compared. `ratio` is of queries a second,
medians of alternating runs of --rows queries each. Then each side in a process of its own: ours
with all queries, both ways, its time and its peak memory; the peer with --rows queries, text to
video, and its memory above that of the vectors times as many rows as that is less, since the full
matrix and its indices take 30 GB.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import alternate
from videobert_jax.cli import failures
from videobert_jax.tasks.metrics import ranking, similarity
from videobert_jax.tasks.metrics.relevance import Groups

SIDES = ("blocks", "argpartition")
_STATUS = pathlib.Path("/proc/self/status")


def vectors(count: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(texts, videos) float32 [count, dim] of norm 1; a text is near its own video."""
    random = np.random.default_rng(0)
    videos = random.standard_normal((count, dim), np.float32)
    texts = random.standard_normal((count, dim), np.float32)
    texts *= 3.5
    texts += videos
    for side in (texts, videos):
        side /= np.linalg.norm(side, axis=1, keepdims=True)
    return texts, videos


def by_blocks(texts: np.ndarray, videos: np.ndarray) -> dict[str, float]:
    """Recalls of our ranks."""
    products = similarity.Products(texts, videos)
    ranks, _ = ranking.of_similarity(products, {"": Groups(np.arange(len(videos)))}, size=0)
    figures = ranking.summary(ranks[""], "x")
    return {name: figures[name] for name in _RECALLS}


def by_argpartition(texts: np.ndarray, videos: np.ndarray) -> dict[str, float]:
    """Recalls by the best candidates of the full matrix."""
    scores = texts @ videos.T
    best = np.argpartition(scores, -_MOST, axis=1)[:, -_MOST:]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    hits = np.take_along_axis(best, order, axis=1) == np.arange(len(texts))[:, None]
    return {f"x_R{at}": float(hits[:, :at].any(axis=1).mean()) for at in ranking.RECALL_AT}


_MOST = max(ranking.RECALL_AT)
_RECALLS = [f"x_R{at}" for at in ranking.RECALL_AT]
_FUNCTIONS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = dict(
    zip(SIDES, (by_blocks, by_argpartition), strict=True)
)


def of_process(side: str, count: int, dim: int, rows: int) -> dict[str, Any]:
    """Seconds, and bytes at the peak and before, of a side in this process."""
    texts, videos = vectors(count, dim)
    before, begun = _bytes("VmRSS"), time.perf_counter()
    _FUNCTIONS[side](texts[:rows], videos)
    if side == SIDES[0]:
        by_blocks(videos[:rows], texts)
    return {
        "seconds": time.perf_counter() - begun,
        "before": before,
        "peak": _bytes("VmHWM"),
    }


def _bytes(field: str) -> int:
    """Of a field of /proc/self/status. Raises BenchmarkError where the system has none."""
    if not _STATUS.exists():
        raise alternate.BenchmarkError(f"memory is read from {_STATUS}, which only Linux has.")
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def _in_process(side: str, count: int, dim: int, rows: int) -> dict[str, Any]:
    sizes = [f"--count={count}", f"--dim={dim}", f"--rows={rows}"]
    command = [sys.executable, "-m", "benchmarks.retrieval", "--side", side, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise alternate.BenchmarkError(f"{side} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(count: int, dim: int, rows: int, rounds: int) -> dict[str, Any]:
    """The benchmark's record. Raises BenchmarkError where the recalls are not equal."""
    if not _MOST < rows <= count:
        raise alternate.BenchmarkError(f"--rows={rows}: expected {_MOST + 1} to --count={count}.")
    texts, videos = vectors(count, dim)
    found: dict[str, dict[str, float]] = {}

    def rate(side: str) -> float:
        begun = time.perf_counter()
        found[side] = _FUNCTIONS[side](texts[:rows], videos)
        return rows / (time.perf_counter() - begun)

    peers = {SIDES[1]: lambda: rate(SIDES[1])}
    rates = alternate.run(lambda: rate(SIDES[0]), peers, rounds=rounds)
    if found[SIDES[0]] != found[SIDES[1]]:
        raise alternate.BenchmarkError(f"the recalls are not equal: {found}")
    ours = _in_process(SIDES[0], count, dim, count)
    peer = _in_process(SIDES[1], count, dim, rows)
    of_peer = peer["before"] + (peer["peak"] - peer["before"]) * count / rows
    figures = {
        "count": count,
        "dim": dim,
        "recalls": found[SIDES[0]],
        "rows_of_alternating_runs": rows,
        "seconds_both_ways_measured": ours["seconds"],
        "peak_bytes_measured": ours["peak"],
        "peer_rows_of_memory": rows,
        "peer_peak_bytes_measured": peer["peak"],
        "peer_peak_bytes_scaled": of_peer,
        "peak_bytes_ratio": of_peer / ours["peak"],
    }
    return alternate.record("retrieval", rates, "queries/s", [], figures)


def run(arguments: argparse.Namespace) -> int:
    sizes = (arguments.count, arguments.dim, arguments.rows)
    if arguments.side:
        print(json.dumps(of_process(arguments.side, *sizes)))
        return 0
    alternate.write(measure(*sizes, arguments.rounds), arguments.json)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--count", type=int, default=50_000, help="texts, and videos")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rows", type=int, default=2_000, help="queries of a run of either side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    return failures.exit_code(lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
