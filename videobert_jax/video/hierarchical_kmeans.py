"""Hierarchical k-means over more clip features than memory holds: the fit of visual words.

Level by level, all nodes of a level at once. Of every node a sample is drawn; k-means++ (Arthur &
Vassilvitskii 2007, with its greedy candidates) and Lloyd's steps run on the samples together, one
array [nodes, points, dim] on the devices. Where the sample is not everything, Lloyd steps over all
features follow, chunk by chunk. Between levels an int32 a clip is kept; drawing a sample sorts
them, about 28 bytes a clip.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Int32, Key

from videobert_jax.schema import FeatureContract
from videobert_jax.sharding import mesh as meshes
from videobert_jax.video import visual_words
from videobert_jax.video.visual_words import VisualWords, VisualWordsError

CANDIDATES = 4  # of k-means++, the best of which becomes a centroid
_SAME = 1e-5  # squared distances below this share of the squared lengths are rounding

Stream = Callable[[], Iterable[np.ndarray]]  # the chunks [m, c], the same ones at every call


@dataclasses.dataclass(frozen=True)
class Settings:
    """`sample`: features held at a time, 4 bytes a dimension. `iterations`: of Lloyd's on a sample
    at most, ended when the error falls by less than `tolerance` of itself. `passes`: Lloyd steps a
    level over all features, where there are more than a sample holds."""

    branching: int = 12
    depth: int = 4
    seed: int = 0
    sample: int = 1 << 18
    iterations: int = 50
    tolerance: float = 1e-3
    passes: int = 1


def fit(
    stream: Stream,
    num_features: int,
    centre: Float[np.ndarray, " c"],
    contract: FeatureContract,
    settings: Settings,
    mesh: Mesh,
    about: dict[str, Any],
) -> VisualWords:
    """Visual words of the features, with `figures` a level in `about`.

    Deterministic for a seed and a number of devices. Raises VisualWordsError on too few features,
    and on NaN or infinite ones.
    """
    if num_features < settings.branching:
        raise VisualWordsError(
            f"{num_features} clip features for {settings.branching} branches; expected at least "
            "as many: take a larger split or a smaller --branching"
        )
    data = _Data(stream, num_features, centre, mesh)
    nodes, levels = np.zeros(num_features, np.int32), []
    counts, errors = [], []
    for level in range(1, settings.depth + 1):
        say = _Progress(f"level {level} of {settings.depth}")
        parents = settings.branching ** (level - 1)
        centroids, complete = _fit_samples(data, nodes, parents, settings, level, say)
        for number in range(0 if complete else settings.passes):
            centroids = _pass(data, nodes, centroids, settings.branching)
            say(f"pass {number + 1} of {settings.passes} over all features")
        nodes, error = _assign(data, nodes, centroids, settings.branching)
        levels.append(centroids)
        counts.append(np.bincount(nodes, minlength=len(centroids)))
        errors.append(error)
        say(f"error {error:.6g}", last=True)
    found = visual_words.figures(counts, errors, levels)
    about = {**about, "num_features": num_features, "seed": settings.seed, "figures": found}
    return VisualWords(settings.branching, centre, tuple(levels), contract, about)


class _Progress:
    """Lines on standard error: what was done, and for how long the level has run."""

    def __init__(self, name: str):
        self._name, self._start, self._shown = name, time.monotonic(), 0.0

    def __call__(self, text: str, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._shown > 2:
            self._shown = now
            print(f"{self._name}: {text}, {now - self._start:.1f} s", file=sys.stderr, flush=True)


class _Data:
    """The features, read again and again in one order, and how arrays are laid on the devices."""

    def __init__(self, stream: Stream, count: int, centre: np.ndarray, mesh: Mesh):
        self.stream, self.count, self.centre = stream, count, centre
        self._axes, self._mesh = meshes.BLOCK_AXES, mesh
        self.devices = int(np.prod([mesh.shape[axis] for axis in self._axes]))

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """(their places, features minus the centre, float32), as many at a time as are compared."""
        place = 0
        for chunk in self.stream():
            visual_words.check(chunk, len(self.centre))
            for start in range(0, len(chunk), visual_words.CHUNK):
                part = chunk[start : start + visual_words.CHUNK]
                yield slice(place, place + len(part)), part.astype(np.float32) - self.centre
                place += len(part)
        if place != self.count:
            raise VisualWordsError(
                f"{place:,} clip features came, {self.count:,} were announced; the dataset has "
                "changed: verify it, and start anew"
            )

    def placed(self, array: np.ndarray, axis: int = 0) -> jax.Array:
        """The array on the devices, split along an axis that they divide."""
        spec = [None] * array.ndim
        if array.shape[axis] % self.devices == 0:
            spec[axis] = self._axes  # type: ignore[call-overload]
        return jax.device_put(array, NamedSharding(self._mesh, PartitionSpec(*spec)))


def draw_sample(
    nodes: Int[np.ndarray, " n"], num_nodes: int, size: int, seed: int
) -> Int[np.ndarray, "p s"]:
    """Places of `size` features of every node, drawn without replacement; -1 beyond its number."""
    priority = np.random.default_rng(seed).random(len(nodes), np.float32)
    order = np.lexsort((priority, nodes))
    counts = np.bincount(nodes, minlength=num_nodes)
    rank = np.arange(len(nodes)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.full((num_nodes, size), -1, np.int64)
    kept = rank < size
    chosen[nodes[order[kept]], rank[kept]] = order[kept]
    return chosen


def _fit_samples(
    data: _Data,
    nodes: Int32[np.ndarray, " n"],
    parents: int,
    settings: Settings,
    level: int,
    say: Callable[[str], None],
) -> tuple[Float[np.ndarray, "m c"], bool]:
    """(centroids of the children of all parents, whether the samples were all features)."""
    most = int(np.bincount(nodes, minlength=parents).max())
    size = min(-(-settings.sample // parents), most)
    size += -size % data.devices
    chosen = draw_sample(nodes, parents, size, settings.seed + level)
    rows = np.zeros((*chosen.shape, len(data.centre)), np.float32)
    place_of = np.full(data.count, -1, np.int64)
    place_of[chosen[chosen >= 0]] = np.flatnonzero(chosen.reshape(-1) >= 0)
    flat = rows.reshape(-1, rows.shape[-1])
    for places, features in data.chunks():
        wanted = place_of[places]
        flat[wanted[wanted >= 0]] = features[wanted >= 0]
    sample, real = data.placed(rows, 1), data.placed(chosen >= 0, 1)
    del rows, flat
    key = jax.random.fold_in(jax.random.key(settings.seed), level)
    centroids = seeds(sample, real, key, settings.branching)
    error = np.inf
    for number in range(settings.iterations):
        centroids, total = lloyd_step(sample, real, centroids)
        before, error = error, float(total)
        say(f"Lloyd step {number + 1} on {int((chosen >= 0).sum()):,} features")
        if before - error <= settings.tolerance * error:
            break
    out = np.asarray(centroids).reshape(-1, len(data.centre))
    return out, most <= size


def _distances(
    sample: Float[Array, "p s c"], centroids: Float[Array, "p b c"]
) -> Float[Array, "p s b"]:
    """Squared distances; infinite from a centroid that is NaN, 0 where only rounding is left."""
    lengths = jnp.square(centroids).sum(-1)[:, None]
    own = jnp.square(sample).sum(-1)[..., None]
    found = own + lengths - 2 * jnp.einsum("psc,pbc->psb", sample, centroids)
    found = jnp.where(found > _SAME * (own + lengths), found, 0.0)
    return jnp.where(jnp.isnan(lengths), jnp.inf, found)


@jax.jit(static_argnames="branching")
def seeds(
    sample: Float[Array, "p s c"], real: Bool[Array, "p s"], key: Key[Array, ""], branching: int
) -> Float[Array, "p b c"]:
    """First centroids of every node by greedy k-means++; NaN where it has too few distinct points.

    A point is drawn in proportion to its squared distance from the nearest centroid (of
    `CANDIDATES` draws, the one that leaves least error), by the Gumbel-max trick.
    """
    count = sample.shape[0]

    def drawn(weights: Float[Array, "p s"], key: Key[Array, ""], draws: int) -> Any:
        noise = jax.random.gumbel(key, (count, draws, weights.shape[1]))
        places = jnp.argmax(jnp.log(weights)[:, None] + noise, -1)
        return jnp.take_along_axis(sample, places[..., None], axis=1)

    first_key, key = jax.random.split(key)
    first = drawn(real.astype(jnp.float32), first_key, 1)
    nearest = jnp.where(real, _distances(sample, first)[..., 0], 0.0)
    first = jnp.where(real.any(1)[:, None, None], first, jnp.nan)

    def add(nearest: Float[Array, "p s"], key: Key[Array, ""]) -> Any:
        candidates = drawn(nearest, key, CANDIDATES)
        left = jnp.minimum(nearest[..., None], _distances(sample, candidates))
        best = jnp.argmin(left.sum(1), -1)[:, None, None]
        chosen = jnp.take_along_axis(candidates, best, axis=1)[:, 0]
        is_left = (nearest > 0).any(1, keepdims=True)
        after = jnp.where(is_left, jnp.take_along_axis(left, best, axis=2)[..., 0], nearest)
        return after, jnp.where(is_left, chosen, jnp.nan)

    _, others = jax.lax.scan(add, nearest, jax.random.split(key, branching - 1))
    return jnp.concatenate([first, jnp.swapaxes(others, 0, 1)], axis=1)


@jax.jit
def lloyd_step(
    sample: Float[Array, "p s c"], real: Bool[Array, "p s"], centroids: Float[Array, "p b c"]
) -> tuple[Float[Array, "p b c"], Float[Array, ""]]:
    """(centroids as the means of what is nearest to them, mean squared distance before).

    A centroid that nothing is nearest to goes to the point of its node that is worst off, one a
    node at a time.
    """
    distances = _distances(sample, centroids)
    child = jnp.argmin(distances, -1)
    error = jnp.where(real, distances.min(-1), 0.0)
    member = jax.nn.one_hot(child, centroids.shape[1]) * real[..., None]
    sizes = member.sum(1)
    totals = jnp.einsum("psb,psc->pbc", member, sample)
    means = totals / jnp.maximum(sizes, 1.0)[..., None]
    empty = (sizes == 0) & ~jnp.isnan(centroids[..., 0])
    is_first = empty & (jnp.cumsum(empty, 1) == 1) & (error.max(1, keepdims=True) > 0)
    worst = jnp.take_along_axis(sample, jnp.argmax(error, 1)[:, None, None], axis=1)
    moved = jnp.where((sizes > 0)[..., None], means, centroids)
    return jnp.where(is_first[..., None], worst, moved), error.sum() / real.sum()


def _pass(
    data: _Data,
    nodes: Int32[np.ndarray, " n"],
    centroids: Float[np.ndarray, "m c"],
    branching: int,
) -> Float[np.ndarray, "m c"]:
    """Centroids after a Lloyd step over all features; those that nothing is nearest to stay."""
    totals, sizes = np.zeros(centroids.shape, np.float64), np.zeros(len(centroids), np.int64)
    for places, features in data.chunks():
        found, _ = visual_words.nearest_child(
            features, nodes[places], centroids, branching, data.placed
        )
        order = np.argsort(found, kind="stable")
        present, first, counts = np.unique(found[order], return_index=True, return_counts=True)
        totals[present] += np.add.reduceat(features[order], first, axis=0)
        sizes[present] += counts
    moved = totals / np.maximum(sizes, 1)[:, None]
    return np.where(sizes[:, None] > 0, moved, centroids).astype(np.float32)


def _assign(
    data: _Data,
    nodes: Int32[np.ndarray, " n"],
    centroids: Float[np.ndarray, "m c"],
    branching: int,
) -> tuple[Int32[np.ndarray, " n"], float]:
    """(child of every feature among those of its node, mean squared distance)."""
    found, total = np.zeros_like(nodes), 0.0
    for places, features in data.chunks():
        found[places], distances = visual_words.nearest_child(
            features, nodes[places], centroids, branching, data.placed
        )
        total += float(distances.sum(dtype=np.float64))
    return found, total / data.count
