"""Visual words: a tree of centroids, and the leaf that a clip feature falls to.

VideoBERT (Sun et al. 2019, section 4.2) makes 20,736 of them: 12 branches, 4 levels deep.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Int32
from safetensors import SafetensorError, safe_open

from videobert_jax.files import atomic, errors, json_values, versions
from videobert_jax.schema import FeatureContract

FORMAT, FORMAT_VERSION = "videobert-jax visual words", 1
CHUNK = 1 << 16  # clips compared at a time; 256 MiB of 1024 float32
_ROWS = 1 << 11  # of them at once in a step of a device


class VisualWordsError(ValueError):
    """Visual words that cannot be fitted, or a file that holds none."""


@dataclasses.dataclass(frozen=True)
class VisualWords:
    """A tree of centroids: `levels[l]` float32 `[b**(l + 1), c]`, of features minus `centre` [c].

    Children of node i are `i * b` to `i * b + b - 1`; a child that its parent had too few distinct
    points for is NaN, and no feature falls to it. `about` says what the words were fitted to.
    """

    branching: int
    centre: np.ndarray
    levels: tuple[np.ndarray, ...]
    contract: FeatureContract
    about: Mapping[str, Any]

    @property
    def depth(self) -> int:
        return len(self.levels)

    @property
    def num_words(self) -> int:
        """Leaves there may be, `branching ** depth`: one more than the greatest id."""
        return len(self.levels[-1])

    @property
    def exists(self) -> np.ndarray:
        """Whether a leaf is a word: bool [num_words]."""
        return ~np.isnan(self.levels[-1][:, 0])

    def assign(self, features: Float[np.ndarray, "n c"]) -> Int32[np.ndarray, " n"]:
        """Word of every clip feature: down the tree, at each node to the nearest child.

        Raises VisualWordsError on NaN or infinite features, and on another dimension.
        """
        return self.descend(features)[0]

    def descend(
        self, features: Float[np.ndarray, "n c"]
    ) -> tuple[Int32[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """(word, squared distance to its centroid) of every clip feature."""
        check(features, len(self.centre))
        words = np.zeros(len(features), np.int32)
        distances = np.zeros(len(features), np.float32)
        for start in range(0, len(features), CHUNK):
            part = slice(start, start + CHUNK)
            for centroids in self.levels:
                words[part], distances[part], _ = nearest_child(
                    features[part], self.centre, words[part], centroids, self.branching
                )
        return words, distances


def check(features: np.ndarray, dim: int) -> None:
    """Raises VisualWordsError unless the features are finite `[n, dim]`."""
    if features.ndim != 2 or features.shape[1] != dim:
        raise VisualWordsError(
            f"features of shape {list(features.shape)}, expected [clips, {dim}]; give clip "
            "features of the network that the words were made for"
        )
    damaged = int((~np.isfinite(features).all(axis=1)).sum())
    if damaged:
        raise VisualWordsError(
            f"{damaged} of {len(features)} clip features are NaN or infinite; leave them out or "
            "extract them anew"
        )


def nearest_child(
    features: Float[np.ndarray, "n c"],
    centre: Float[np.ndarray, " c"],
    parents: Int[np.ndarray, " n"],
    centroids: Float[np.ndarray, "m c"],
    branching: int,
    mesh: Mesh | None = None,
    sums: bool = False,
) -> tuple[Int32[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, "m c"] | None]:
    """(node, squared distance to it) of every feature among the children of its parent, and the
    sums of the features (minus the centre) that fell to each node, where asked for.

    Features of one parent stand together in tiles, each one product with that parent's children:
    compared one by one, every feature would fetch all its children from memory. The devices of a
    mesh share the tiles.
    """
    children = centroids.reshape(-1, branching, centroids.shape[1])
    points, owners = tiles(parents, _tile_size(len(features), len(children)))
    at_once = _ROWS // points.shape[1]
    extra = _padding(len(owners), at_once * (1 if mesh is None else mesh.size))
    points = np.pad(points, ((0, extra), (0, 0)), constant_values=-1)
    owners = np.pad(owners, (0, extra), mode="edge")
    child, distance, total = _nearest(
        features, centre, children, points, owners, at_once=at_once, sums=sums, mesh=mesh
    )
    kept = points >= 0
    nodes, distances = np.zeros(len(features), np.int32), np.zeros(len(features), np.float32)
    nodes[points[kept]] = (owners[:, None] * branching + np.asarray(child))[kept]
    distances[points[kept]] = np.asarray(distance)[kept]
    return nodes, distances, None if total is None else np.asarray(total).reshape(centroids.shape)


def _padding(count: int, multiple: int) -> int:
    """How many to add so that few numbers of steps, and so few programs, occur."""
    steps = -(-count // multiple)
    granule = max(1, 2 ** (steps.bit_length() - 4))
    return -(-steps // granule) * granule * multiple - count


def _tile_size(num_points: int, num_parents: int) -> int:
    """A power of two near the mean number of points of a parent, 4 to 512."""
    return 2 ** int(np.clip(np.round(np.log2(max(num_points / num_parents, 1))), 2, 9))


def tiles(
    groups: Int[np.ndarray, " n"], size: int
) -> tuple[Int[np.ndarray, "g t"], Int[np.ndarray, " g"]]:
    """(points of every tile, -1 where it has fewer; its group) of points in groups."""
    order = np.argsort(groups, kind="stable")
    present, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    per_group = -(-counts // size)
    begins = np.concatenate([[0], np.cumsum(per_group)])
    place = np.arange(len(groups)) - np.repeat(first, counts)
    tile = np.repeat(begins[:-1], counts) + place // size
    points = np.full((begins[-1], size), -1, np.int64)
    points[tile, place % size] = order
    return points, np.repeat(present, per_group)


@jax.jit(static_argnames=("at_once", "sums", "mesh"))
def _nearest(
    features: Float[Array, "n c"],
    centre: Float[Array, " c"],
    children: Float[Array, "o b c"],
    points: Int[Array, "g t"],
    owners: Int[Array, " g"],
    *,
    at_once: int,
    sums: bool,
    mesh: Mesh | None,
) -> tuple[Int[Array, "g t"], Float[Array, "g t"], Float[Array, "o b c"] | None]:
    """`at_once` tiles after `at_once`: on a CPU what is compared then stays in its cache."""

    def of_device(
        features: Array, centre: Array, children: Array, points: Array, owners: Array
    ) -> Any:
        step = functools.partial(_step, features, centre[None, None], children)
        start = jnp.zeros_like(children) if sums else None
        stacked = (points.reshape(-1, at_once, points.shape[1]), owners.reshape(-1, at_once))
        total, (child, distance) = jax.lax.scan(step, start, stacked)
        total = jax.lax.psum(total, mesh.axis_names) if sums and mesh is not None else total
        return child.reshape(points.shape), distance.reshape(points.shape), total

    if mesh is None:
        return of_device(features, centre, children, points, owners)
    whole, shared = PartitionSpec(), PartitionSpec(mesh.axis_names)
    return jax.shard_map(
        of_device,
        mesh=mesh,
        in_specs=(whole, whole, whole, shared, shared),
        out_specs=(shared, shared, whole),
        check_vma=False,
    )(features, centre, children, points, owners)


def _step(
    features: Array, centre: Array, children: Array, total: Array | None, given: tuple
) -> tuple[Array | None, tuple[Array, Array]]:
    points, owners = given
    inside = features[points].astype(jnp.float32) - centre
    own = children[owners]
    products = jnp.einsum("gtc,gbc->gtb", inside, own, precision="highest")
    lengths = jnp.square(own).sum(-1)[:, None]
    distances = jnp.where(jnp.isnan(lengths), jnp.inf, lengths - 2 * products)
    child, least = jnp.argmin(distances, -1), distances.min(-1)
    if total is not None:
        member = jax.nn.one_hot(child, own.shape[1]) * (points >= 0)[..., None]
        added = jnp.einsum("gtb,gtc->gbc", member, inside, precision="highest")
        total = total.at[owners].add(added)
    return total, (child, jnp.maximum(jnp.square(inside).sum(-1) + least, 0.0))


def save(path: str | os.PathLike, words: VisualWords) -> None:
    """Writes the words to a safetensors file, which appears only when whole."""
    tensors = {"centre": words.centre.astype(np.float32)}
    for number, centroids in enumerate(words.levels, start=1):
        tensors[f"level_{number}"] = centroids.astype(np.float32)
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "branching": words.branching,
        "depth": words.depth,
        "contract": words.contract.to_json(),
        "about": dict(words.about),
    }
    content = safetensors.numpy.save(tensors, {"visual_words": json.dumps(about)})
    atomic.write_bytes(pathlib.Path(path), content)


def load(path: str | os.PathLike) -> VisualWords:
    """The words of a file of `save`. Raises VisualWordsError where it is none, or damaged."""
    with errors.of_form(path, VisualWordsError, "make the file with fit-visual-words"):
        return _load(path)


def _load(path: str | os.PathLike) -> VisualWords:
    try:
        with safe_open(path, "numpy") as file:
            about = json_values.parse((file.metadata() or {}).get("visual_words", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise VisualWordsError(
            f"{path}: not a whole safetensors file ({error}); fit the words anew"
        ) from error
    if about.get("format") != FORMAT or about.get("format_version") != FORMAT_VERSION:
        own = "make the file with fit-visual-words"
        remedy = versions.newer(about.get("format_version"), FORMAT_VERSION) or own
        raise VisualWordsError(
            f"{path}: format {about.get('format')!r} version {about.get('format_version')!r}, "
            f"expected {FORMAT!r} version {FORMAT_VERSION}; {remedy}"
        )
    if about["depth"] != len(tensors) - 1:  # before as many shapes are listed
        raise VisualWordsError(
            f"{path}: depth {about['depth']!r:.40} and {len(tensors)} tensors, expected a "
            "centre and one a level; the file is damaged: fit the words anew"
        )
    contract, branching = FeatureContract.from_json(about["contract"]), about["branching"]
    shapes: dict[str, tuple[int, ...]] = {
        f"level_{n}": (branching**n, contract.dim) for n in range(1, about["depth"] + 1)
    }
    shapes |= {"centre": (contract.dim,)}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != shapes:
        raise VisualWordsError(
            f"{path}: tensors {found}, expected {shapes}; the file is damaged: fit the words anew"
        )
    levels = tuple(tensors[f"level_{n}"] for n in range(1, about["depth"] + 1))
    return VisualWords(branching, tensors["centre"], levels, contract, about["about"])


def figures(
    counts: Sequence[np.ndarray],
    errors: Sequence[float | int],
    centroids: Sequence[np.ndarray],
) -> list[dict[str, Any]]:
    """What each level makes of the features, from the count of every node and the mean squared
    distance: words there are, share of them used, perplexity (e to the entropy), error."""
    rows = []
    for count, error, of_level in zip(counts, errors, centroids, strict=True):
        shares = count[count > 0] / max(count.sum(), 1)
        there = int((~np.isnan(of_level[:, 0])).sum())
        rows.append(
            {
                "words": there,
                "occupancy": float((count > 0).sum() / max(there, 1)),
                "perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
                "quantisation_error": float(error),
            }
        )
    return rows
