"""Hierarchical k-means over more clip features than memory holds: the fit of visual words.

Level by level. Of every node a sample is drawn; k-means++ (Arthur & Vassilvitskii 2007, with its
greedy candidates) and Lloyd's steps run on the inner products of the sample's points, computed
once: a centroid is a mean of points, so that its distance to another follows from them, at a tenth
of the work of comparing vectors. Where the sample is not everything, Lloyd steps over all features
follow, chunk by chunk. Between levels an int32 a clip is kept; drawing a sample sorts them, about
28 bytes a clip.
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
from videobert_jax.video import visual_words
from videobert_jax.video.visual_words import VisualWords, VisualWordsError

CANDIDATES = 4  # of k-means++, the best of which becomes a centroid
_SAME = 1e-5  # squared distances below this share of the squared lengths are rounding
_PRODUCTS = 1 << 22  # inner products of a device at a time: 16 MiB, near a CPU's cache
_MULTIPLE = 64  # of a sample's points, whatever the number of devices, so that all draw the same

Stream = Callable[[], Iterable[np.ndarray]]  # the chunks [m, c], the same ones at every call


@dataclasses.dataclass(frozen=True)
class Settings:
    """`sample`: features held at a time, as they are stored; `node_sample`: of one node at most.
    `iterations`: of Lloyd's on a sample at most, ended when the error falls by less than
    `tolerance` of itself. `passes`: Lloyd steps a level over all features, where there are more
    than a sample holds."""

    branching: int = 12
    depth: int = 4
    seed: int = 0
    sample: int = 1 << 18
    node_sample: int = 1 << 10
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

    Deterministic for a seed; the number of devices changes the rounding alone. Raises
    VisualWordsError on too few features, and on NaN or infinite ones.
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
        self.stream, self.count, self.centre, self.mesh = stream, count, centre, mesh
        self._checked = False

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """(their places, features as they are stored), as many at a time as are compared."""
        place = 0
        for chunk in self.stream():
            if not self._checked:
                visual_words.check(chunk, len(self.centre))
            for start in range(0, len(chunk), visual_words.CHUNK):
                part = chunk[start : start + visual_words.CHUNK]
                yield slice(place, place + len(part)), part
                place += len(part)
        if place != self.count:
            raise VisualWordsError(
                f"{place:,} clip features came, {self.count:,} were announced; the dataset has "
                "changed: verify it, and start anew"
            )
        self._checked = True

    def placed(self, array: np.ndarray) -> jax.Array:
        """The array on the devices, split along its first axis where they divide it, otherwise
        along its second."""
        axes = self.mesh.axis_names
        spec = (axes,) if array.shape[0] % self.mesh.size == 0 else (None, axes)
        return jax.device_put(array, NamedSharding(self.mesh, PartitionSpec(*spec)))


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
    size = min(-(-settings.sample // parents), settings.node_sample, most)
    size += -size % _MULTIPLE
    chosen = draw_sample(nodes, parents, size, settings.seed + level)
    sample = _gather(data, chosen)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(settings.seed), level), parents)
    centroids = np.zeros((parents, settings.branching, len(data.centre)), np.float32)
    together = max(1, _PRODUCTS // size**2) * data.mesh.size
    for first in range(0, parents, together):
        part = slice(first, first + together)
        centroids[part] = fit_nodes(
            data.placed(sample[part]),
            data.centre,
            data.placed(chosen[part] >= 0),
            keys[part],
            settings.branching,
            settings.iterations,
            settings.tolerance,
        )
        say(f"{min(first + together, parents):,} of {parents:,} nodes, {size:,} features each")
    return centroids.reshape(-1, len(data.centre)), most <= size


def _gather(data: _Data, chosen: Int[np.ndarray, "p s"]) -> Float[np.ndarray, "p s c"]:
    """The chosen features as they are stored; any where `chosen` is -1."""
    place_of = np.full(data.count, -1, np.int64)
    place_of[chosen[chosen >= 0]] = np.flatnonzero(chosen.reshape(-1) >= 0)
    sample = None
    for places, features in data.chunks():
        if sample is None:
            sample = np.zeros((chosen.size, features.shape[1]), features.dtype)
        wanted = place_of[places]
        sample[wanted[wanted >= 0]] = features[wanted >= 0]
    assert sample is not None  # there are as many features as branches
    return sample.reshape(*chosen.shape, -1)


@jax.jit(static_argnames=("branching", "iterations", "tolerance"))
def fit_nodes(
    sample: Float[Array, "p s c"],
    centre: Float[Array, " c"],
    real: Bool[Array, "p s"],
    keys: Key[Array, " p"],
    branching: int,
    iterations: int,
    tolerance: float,
) -> Float[Array, "p b c"]:
    """Centroids of every node by k-means++ and Lloyd's steps; NaN where it has too few distinct
    points."""
    sample = sample.astype(jnp.float32) - centre[None, None]
    products = jnp.einsum("psc,ptc->pst", sample, sample, precision="highest")

    def unfinished(state: Any) -> Any:
        _, before, error, number = state
        return (number < iterations) & (before - error > tolerance * error)

    def step(state: Any) -> Any:
        weights, _, before, number = state
        weights, error = lloyd_step(products, real, weights)
        return weights, before, error, number + 1

    weights, error = lloyd_step(products, real, seeds(products, real, keys, branching))
    weights, *_ = jax.lax.while_loop(unfinished, step, (weights, jnp.inf, error, 1))
    centroids = jnp.einsum("psb,psc->pbc", weights, sample, precision="highest")
    return jnp.where(weights.any(1)[..., None], centroids, jnp.nan)


def _distances(
    products: Float[Array, "p s s"], weights: Float[Array, "p s b"]
) -> Float[Array, "p s b"]:
    """Squared distances of points and centroids, which are means of points by their `weights`.

    Infinite from a centroid without weights, 0 where only rounding is left.
    """
    across = jnp.einsum("pst,ptb->psb", products, weights, precision="highest")
    lengths = (weights * across).sum(1, keepdims=True)
    own = jnp.diagonal(products, axis1=1, axis2=2)[..., None]
    found = own + lengths - 2 * across
    found = jnp.where(found > _SAME * (own + lengths), found, 0.0)
    return jnp.where(weights.any(1, keepdims=True), found, jnp.inf)


def seeds(
    products: Float[Array, "p s s"],
    real: Bool[Array, "p s"],
    keys: Key[Array, " p"],
    branching: int,
) -> Float[Array, "p s b"]:
    """First centroids of every node by greedy k-means++, each one point: its weight is 1.

    A point is drawn in proportion to its squared distance from the nearest centroid (of
    `CANDIDATES` draws, the one that leaves least error), by the Gumbel-max trick. A node with too
    few distinct points has centroids without weights.
    """
    size = real.shape[1]

    def drawn(chances: Float[Array, "p s"], number: Any, draws: int) -> Any:
        of_draw = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, (draws, size)))(of_draw)
        places = jnp.argmax(jnp.log(chances)[:, None] + noise, -1)
        return jax.nn.one_hot(places, size, axis=1)

    first = drawn(real.astype(jnp.float32), 0, 1) * real.any(1)[:, None, None]
    nearest = jnp.where(real, _distances(products, first)[..., 0], 0.0)

    def add(nearest: Float[Array, "p s"], number: Int[Array, ""]) -> Any:
        candidates = drawn(nearest, number, CANDIDATES)
        left = jnp.minimum(nearest[..., None], _distances(products, candidates))
        best = jnp.argmin(left.sum(1), -1)[:, None, None]
        chosen = jnp.take_along_axis(candidates, best, axis=2)[..., 0]
        is_left = (nearest > 0).any(1, keepdims=True)
        after = jnp.where(is_left, jnp.take_along_axis(left, best, axis=2)[..., 0], nearest)
        return after, chosen * is_left

    _, others = jax.lax.scan(add, nearest, jnp.arange(1, branching))
    return jnp.concatenate([first, jnp.moveaxis(others, 0, -1)], axis=-1)


def lloyd_step(
    products: Float[Array, "p s s"], real: Bool[Array, "p s"], weights: Float[Array, "p s b"]
) -> tuple[Float[Array, "p s b"], Float[Array, ""]]:
    """(weights of the means of what is nearest to each centroid, mean squared distance before).

    A centroid that nothing is nearest to goes to the point of its node that is worst off, one a
    node at a time.
    """
    distances = _distances(products, weights)
    error = jnp.where(real, distances.min(-1), 0.0)
    member = jax.nn.one_hot(jnp.argmin(distances, -1), weights.shape[-1]) * real[..., None]
    sizes = member.sum(1, keepdims=True)
    empty = (sizes == 0) & weights.any(1, keepdims=True)
    is_first = empty & (jnp.cumsum(empty, -1) == 1) & (error.max(1)[:, None, None] > 0)
    worst = jax.nn.one_hot(jnp.argmax(error, 1), weights.shape[1])[..., None]
    moved = jnp.where(sizes > 0, member / jnp.maximum(sizes, 1.0), weights)
    return jnp.where(is_first, worst, moved), error.sum() / real.sum()


def _pass(
    data: _Data,
    nodes: Int32[np.ndarray, " n"],
    centroids: Float[np.ndarray, "m c"],
    branching: int,
) -> Float[np.ndarray, "m c"]:
    """Centroids after a Lloyd step over all features; those that nothing is nearest to stay."""
    totals, sizes = np.zeros(centroids.shape, np.float64), np.zeros(len(centroids), np.int64)
    for places, features in data.chunks():
        found, _, sums = visual_words.nearest_child(
            features, data.centre, nodes[places], centroids, branching, data.mesh, sums=True
        )
        assert sums is not None
        totals += sums
        sizes += np.bincount(found, minlength=len(centroids))
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
        found[places], distances, _ = visual_words.nearest_child(
            features, data.centre, nodes[places], centroids, branching, data.mesh
        )
        total += float(distances.sum(dtype=np.float64))
    return found, total / data.count
