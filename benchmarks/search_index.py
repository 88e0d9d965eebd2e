"""A million segments in a search index: time, recall, bytes; against faiss' IndexFlatIP.

    python -m benchmarks.search_index [--vectors N] [--json FILE] [--work FOLDER]

The vectors are made, float16 [--vectors, 512] of norm 1, as shards of 1,000 segments, such as
`videobert index` writes: parts of two topics, 0.5 and 0.3, of which there is one a hundred vectors,
drawn around fifty themes; 0.3 of what its video shares; 0.7 of noise. A query lies as far off as a
sentence does: 0.5 and 0.3 of two topics, 0.5 of a direction that all queries have and no vector,
0.6 of noise. Nothing of it is known when the index is built. Another seed draws other ones.

Measured are the approximate index that `videobert index` makes of so many segments, opened and
mapped as `videobert search` has it, and IndexFlatIP of faiss in memory (float32), with one query at
a time. `ratio` is the peer's median time a query by ours, of alternating runs. recall@10 is of all
queries against the peer's answers, before windows of one moment are merged. Peak memory is that of
processes of their own, one that builds and one that opens and searches, and has the file's pages
that were read in it.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import alternate
from videobert_jax.cli import failures
from videobert_jax.schema import FeatureContract
from videobert_jax.search_index import Index, building, manifest, shards, vectors
from videobert_jax.search_index.manifest import File, Maker, Manifest
from videobert_jax.search_index.windows import Windows

DIM, TOP_K = 512, 10
_A_FILE, _A_TOPIC, _THEMES = 1_000, 100, 50
_CONTRACT = FeatureContract(
    "made", "0" * 64, "none", DIM, 16.0, 16, 1.0, "none", normalised=False, dtype="float16"
)
_STATUS = pathlib.Path("/proc/self/status")


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _drawn(random: np.random.Generator, count: int) -> np.ndarray:
    """Directions of a norm near 1, float32 [count, DIM]."""
    return random.standard_normal((count, DIM), np.float32) * np.float32(DIM**-0.5)


def _topics(count: int, seed: int) -> np.ndarray:
    """Centres, one a hundred vectors, around fifty themes."""
    random = np.random.default_rng([seed, 0])
    themes = _drawn(random, _THEMES)
    number = max(count // _A_TOPIC, 1)
    return _unit(themes[random.integers(0, _THEMES, number)] + _drawn(random, number))


def _about(random: np.random.Generator, topics: np.ndarray, count: int) -> np.ndarray:
    """A mixture of two topics each, float32 [count, DIM]."""
    first, second = random.integers(0, len(topics), (2, count))
    return np.float32(0.5) * topics[first] + np.float32(0.3) * topics[second]


def make(folder: pathlib.Path, count: int, seed: int) -> None:
    """An index of `count` vectors without what is searched; shards that are there are kept."""
    topics, files = _topics(count, seed), []
    maker = Maker("made", seed, "0" * 64, "", DIM, _CONTRACT)
    found = Manifest(maker, Windows(2, 1), manifest.AUTO, (), None, 0, ())
    for number in range(-(-count // _A_FILE)):
        size = min(_A_FILE, count - number * _A_FILE)
        file = File(number, f"/videos/{number}.mp4", f"{number:032x}", size + 1, size)
        files.append(file)
        if shards.path_of(folder, file.key).exists():
            continue
        random = np.random.default_rng([seed, 1, number])
        made = _about(random, topics, size) + np.float32(0.3) * _drawn(random, 1)
        made += np.float32(0.7) * _drawn(random, size)
        shards.write(folder, file.key, _unit(made).astype(np.float16), size + 1, found.about)
    ended = Manifest(maker, found.windows, found.kind, tuple(files), None, len(files), ())
    manifest.write(folder, ended)


def queries(count: int, number: int, seed: int) -> np.ndarray:
    """float32 [number, DIM] of norm 1, for `count` vectors."""
    random = np.random.default_rng([seed, 2])
    about = _about(random, _topics(count, seed), number)
    return _unit(about + 0.5 * _drawn(random, 1) + 0.6 * _drawn(random, number))


def _stored(folder: pathlib.Path) -> np.ndarray:
    """float32 of all shards, in the files' order."""
    found = manifest.read(folder)
    stored = np.empty((found.num_windows, DIM), np.float32)
    start = 0
    for file in found.files:
        stored[start : start + file.windows], _ = shards.read(folder, file.key, found.about)
        start += file.windows
    return stored


def _peak() -> int:
    """Bytes of this process at most. Raises BenchmarkError where the system does not say it."""
    if not _STATUS.exists():
        raise alternate.BenchmarkError(f"memory is read from {_STATUS}, which only Linux has.")
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def of_process(part: str, folder: pathlib.Path, given: np.ndarray) -> dict[str, Any]:
    """Seconds and peak bytes of building, or of opening and searching, in this process."""
    begun = time.perf_counter()
    if part == "build":
        building.rebuild(folder)
        return {"seconds": time.perf_counter() - begun, "peak_bytes": _peak()}
    opened = Index.open(folder)
    seconds = time.perf_counter() - begun
    for row in given:
        opened.search(row, TOP_K)
    return {"seconds": seconds, "peak_bytes": _peak()}


def _in_process(part: str, arguments: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    sizes = [f"--vectors={arguments.vectors}", f"--queries={arguments.queries}"]
    command = [sys.executable, "-m", "benchmarks.search_index", f"--part={part}", *sizes]
    command += [f"--work={folder}", f"--seed={arguments.seed}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise alternate.BenchmarkError(f"{part} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _recall(opened: Index, given: np.ndarray, exact: np.ndarray) -> float:
    """Share of the peer's best ten, rows of the shards, that ours finds too."""
    shared = 0
    for hits, rows in zip(opened.search(given, TOP_K, merge=1), exact, strict=True):
        # Windows of two clips of a second, a second apart.
        found = {int(pathlib.Path(h.file).stem) * _A_FILE + round(h.start) for h in hits}
        shared += len(found & set(rows.tolist()))
    return shared / exact.size


def measure(arguments: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """The benchmark's record, of shards and an index in `folder`."""
    count, begun = arguments.vectors, time.perf_counter()
    make(folder, count, arguments.seed)
    made = time.perf_counter() - begun
    print(f"made {count:,} vectors in {made:.1f} s", file=sys.stderr, flush=True)
    built = _in_process("build", arguments, folder)
    searched = _in_process("search", arguments, folder)
    given = queries(count, arguments.queries, arguments.seed)
    flat = vectors.faiss().IndexFlatIP(DIM)
    flat.add(_stored(folder))
    scores, exact = flat.search(given, TOP_K)
    opened = Index.open(folder)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}

    def rate(side: str, rows: np.ndarray) -> float:
        times = []
        for row in rows:
            start = time.perf_counter()
            if side == "ours":
                opened.search(row, TOP_K)
            else:
                flat.search(row[None], TOP_K)
            times.append(time.perf_counter() - start)
        seconds[side] += times
        return 1 / statistics.median(times)

    peers = {"IndexFlatIP": lambda: rate("peer", given[:10])}
    rates = alternate.run(lambda: rate("ours", given), peers, rounds=arguments.rounds)
    found = opened.manifest
    stored = found.vectors
    if stored is None:
        raise alternate.BenchmarkError(f"{folder} has no vectors after its building.")
    figures = {
        "vectors": count,
        "dim": DIM,
        "kind": stored.kind,
        "lists": stored.lists,
        "probes": stored.probes,
        "recall_at_10_measured_while_building": stored.recall,
        "recall_at_10": _recall(opened, given, exact),
        "queries": len(given),
        "best_cosine_median": float(np.median(scores[:, 0])),
        "query_seconds_median": statistics.median(seconds["ours"]),
        "query_seconds_p99": float(np.percentile(seconds["ours"], 99)),
        "peer_query_seconds_median": statistics.median(seconds["peer"]),
        "peer_query_seconds_p99": float(np.percentile(seconds["peer"], 99)),
        "build_seconds": built["seconds"],
        "build_peak_bytes": built["peak_bytes"],
        "open_seconds": searched["seconds"],
        "search_peak_bytes": searched["peak_bytes"],
        "searched_file_bytes": stored.size,
        "shards_bytes": sum(path.stat().st_size for path in (folder / shards.FOLDER).iterdir()),
        "manifest_bytes": (folder / manifest.FILE).stat().st_size,
        "making_seconds": made,
    }
    return alternate.record("search_index", rates, "queries/s", ["faiss"], figures)


def run(arguments: argparse.Namespace) -> int:
    if arguments.part:
        given = queries(arguments.vectors, arguments.queries, arguments.seed)
        print(json.dumps(of_process(arguments.part, arguments.work, given)))
        return 0
    if not arguments.vectors >= _A_TOPIC or arguments.queries < 20:
        raise alternate.BenchmarkError(
            f"--vectors={arguments.vectors} --queries={arguments.queries}; expected {_A_TOPIC} and "
            "20 or more."
        )
    folder = arguments.work or pathlib.Path(tempfile.mkdtemp(prefix="search_index_"))
    try:
        alternate.write(measure(arguments, folder), arguments.json)
    finally:
        if arguments.work is None:
            shutil.rmtree(folder)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work", type=pathlib.Path, help="folder to keep; what is made there is taken over"
    )
    parser.add_argument("--part", choices=("build", "search"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    return failures.exit_code(lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
