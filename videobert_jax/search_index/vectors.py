"""Vectors in the form that faiss searches: built, changed, written and opened.

Exact: every vector, float32, compared with every query (IndexFlatIP). Approximate: float16 vectors
in lists around centres that k-means fits (IVF); a query reads the few lists nearest to it, so that
scores are exact and only neighbours in unread lists are missed. How many lists are read is chosen
by measuring, so that the recall is TARGET_RECALL or more.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.files import digests, extras
from videobert_jax.search_index.errors import SearchIndexError
from videobert_jax.search_index.manifest import APPROXIMATE, EXACT, Vectors

APPROXIMATE_FROM = 50_000  # vectors; fewer are compared one by one within a few milliseconds
TARGET_RECALL = 0.95  # at 10, of made queries, which are harder than sentences
SUFFIX = ".faiss"
WINDOW_BITS = 32  # label of a vector: number of its file, shifted by these, and of its window

_CHUNK = 16_384  # vectors that are float32 at a time
_SAMPLES_A_LIST, _ROUNDS = 64, 10  # of k-means
_QUERIES, _NEAREST = 128, 10  # by which probes are chosen
# Of a made query with the vector that it was made from; the lower, the more lists are read. On what
# benchmarks/search_index.py makes 0.5 asks for 22 % of the lists, 0.7 for 6 %, its queries for 3 %.
_QUERY_COSINE = 0.7
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Part:
    """Vectors of one file, read when needed: float16 or float32 [count, d]."""

    number: int
    count: int
    load: Callable[[], np.ndarray]

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return (np.int64(self.number) << WINDOW_BITS) + np.arange(self.count, dtype=np.int64)


def faiss() -> Any:
    """The library. Raises MissingExtra with the install line where it is absent."""
    return extras.require("faiss", "search")


@dataclasses.dataclass
class Built:
    """An index of faiss in memory, and what `Vectors` says of it. Exact ones have no labels: their
    rows follow the parts."""

    index: Any
    kind: str
    lists: int = 0
    probes: int = 0
    trained: int = 0
    recall: float | int = 0


def build(kind: str, parts: Sequence[Part], dim: int) -> Built:
    """EXACT or APPROXIMATE, of all parts; the same ones give the same index."""
    if kind == EXACT:
        index = faiss().IndexFlatIP(dim)
        for values, _ in _chunks(parts):
            index.add(values)
        return Built(index, EXACT)
    total = sum(part.count for part in parts)
    lists = _lists(total)
    sample = _sample(parts, min(total, max(_SAMPLES_A_LIST * lists, _QUERIES)))
    index = _empty(dim, lists)
    index.train(sample)
    queries = _made_queries(sample)
    best = _Best(queries)
    for values, labels in _chunks(parts):
        index.add_with_ids(values, labels)
        best.see(values, labels)
    probes, recall = _probes(index, queries, best.labels, lists)
    return Built(index, APPROXIMATE, lists, probes, total, recall)


def change(
    path: pathlib.Path, vectors: Vectors, gone: Sequence[Part], new: Sequence[Part]
) -> Built:
    """An approximate index without the parts that are gone and with new ones, in its old lists."""
    index = read(path, vectors, mapped=False)
    if gone:
        index.remove_ids(np.concatenate([part.labels for part in gone]))
    for values, labels in _chunks(new):
        index.add_with_ids(values, labels)
    kept = (vectors.lists, vectors.probes, vectors.trained, vectors.recall)
    return Built(index, APPROXIMATE, *kept)


def may_change(vectors: Vectors | None, kind: str, total: int) -> bool:
    """Whether the lists of an index still fit `total` vectors, half to twice those of training."""
    return (
        vectors is not None
        and vectors.kind == kind == APPROXIMATE
        and vectors.trained / 2 <= total <= 2 * vectors.trained
    )


def write(folder: pathlib.Path, built: Built) -> Vectors:
    """Writes an index into a file that is named by its digest, atomically."""
    temporary = folder / f".vectors.{os.getpid()}.tmp"
    try:
        faiss().write_index(built.index, str(temporary))
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        size, sha256 = temporary.stat().st_size, digests.sha256_file(temporary)
        name = f"{built.kind}-{sha256[:16]}{SUFFIX}"
        os.replace(temporary, folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    numbers = (built.lists, built.probes, built.trained, built.recall)
    return Vectors(name, built.kind, size, sha256, *numbers)


def read(path: pathlib.Path, vectors: Vectors, *, mapped: bool = True, verify: bool = True) -> Any:
    """The index of faiss; mapped: left on the disk, what a query touches is read.

    Raises SearchIndexError where the file is gone or, by size and digest, another one; `verify`
    False leaves the digest out.
    """
    library = faiss()
    found = path.stat().st_size if path.is_file() else None
    remedy = f"`videobert index rebuild --index={path.parent}` makes it anew from the shards."
    if found != vectors.size:
        what = "is gone" if found is None else f"has {found} bytes, {vectors.size} were written"
        raise SearchIndexError(f"{path} {what}; {remedy}")
    if verify and digests.sha256_file(path) != vectors.sha256:
        raise SearchIndexError(f"{path} is damaged: its digest is another one; {remedy}")
    flag = library.IO_FLAG_MMAP_IFC if vectors.kind == EXACT else library.IO_FLAG_MMAP
    index = library.read_index(str(path), flag if mapped else 0)
    if vectors.kind == APPROXIMATE:
        index.nprobe = vectors.probes
    return index


def _empty(dim: int, lists: int) -> Any:
    library = faiss()
    index = library.IndexIVFScalarQuantizer(
        library.IndexFlatIP(dim),
        dim,
        lists,
        library.ScalarQuantizer.QT_fp16,
        library.METRIC_INNER_PRODUCT,
        False,  # vectors themselves, not what is left of them behind their centre
    )
    index.cp.niter, index.cp.spherical, index.cp.seed = _ROUNDS, True, _SEED
    index.cp.max_points_per_centroid = _SAMPLES_A_LIST
    index.cp.min_points_per_centroid = 1  # few vectors are said where they are counted
    return index


def _lists(total: int) -> int:
    """The power of two nearest to the square root: centres and vectors of a probe weigh alike."""
    return 1 << max(round(math.log2(max(total, 1)) / 2), 0)


def _chunks(parts: Sequence[Part]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(vectors float32 [n, d], labels int64 [n]) of all parts, a moderate number at a time."""
    values, labels, count = [], [], 0
    for part in parts:
        values.append(part.load())
        labels.append(part.labels)
        count += part.count
        if count >= _CHUNK:
            yield np.concatenate(values).astype(np.float32), np.concatenate(labels)
            values, labels, count = [], [], 0
    if values:
        yield np.concatenate(values).astype(np.float32), np.concatenate(labels)


def _sample(parts: Sequence[Part], count: int) -> Float[np.ndarray, "n d"]:
    """`count` vectors drawn from all parts without return, float32."""
    starts = np.cumsum([0, *(part.count for part in parts)])
    rows = np.sort(np.random.default_rng(_SEED).choice(starts[-1], count, replace=False))
    bounds = np.searchsorted(rows, starts)
    taken = [
        part.load()[rows[first:last] - start]
        for part, start, first, last in zip(parts, starts, bounds, bounds[1:], strict=False)
        if last > first
    ]
    return np.concatenate(taken).astype(np.float32)


def _made_queries(sample: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "q d"]:
    """Vectors of norm 1 that have a cosine near _QUERY_COSINE with some of the sample."""
    random = np.random.default_rng(_SEED)
    chosen = sample[random.choice(len(sample), min(_QUERIES, len(sample)), replace=False)]
    noise = random.standard_normal(chosen.shape, np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.float32(_QUERY_COSINE) * chosen + np.float32(1 - _QUERY_COSINE**2) ** 0.5 * noise


class _Best:
    """Labels of the best vectors for each query, of all that were seen."""

    def __init__(self, queries: Float[np.ndarray, "q d"]):
        self._queries = queries
        self._scores = np.full((len(queries), 0), 0, np.float32)
        self.labels = np.zeros((len(queries), 0), np.int64)

    def see(self, values: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> None:
        scores = np.concatenate([self._scores, self._queries @ values.T], axis=1)
        rows = np.broadcast_to(labels, (len(scores), len(labels)))
        every = np.concatenate([self.labels, rows], axis=1)
        place = np.argpartition(-scores, min(_NEAREST, scores.shape[1]) - 1, axis=1)[:, :_NEAREST]
        self._scores = np.take_along_axis(scores, place, axis=1)
        self.labels = np.take_along_axis(every, place, axis=1)


def _probes(
    index: Any, queries: np.ndarray, best: Int[np.ndarray, "q k"], lists: int
) -> tuple[int, float]:
    """(lists to read, recall that they give), the fewest that reach the target."""
    probes, recall = 1, 0.0
    while True:
        index.nprobe = probes
        _, found = index.search(queries, best.shape[1])
        shared = [len(np.intersect1d(*pair)) for pair in zip(found, best, strict=True)]
        recall = sum(shared) / best.size
        if recall >= TARGET_RECALL or probes >= lists:
            return probes, recall
        probes = min(max(probes * 5 // 4, probes + 1), lists)
