"""Visual words: a tree of centroids, and the leaf that a clip feature falls to.

VideoBERT (Sun et al. 2019, section 4.2) makes 20,736 of them: 12 branches, 4 levels deep.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Array, Float, Int, Int32
from safetensors import SafetensorError, safe_open

from videobert_jax.files import atomic
from videobert_jax.schema import FeatureContract

FORMAT, FORMAT_VERSION = "videobert-jax visual words", 1
CHUNK = 16_384  # clips compared at a time; 64 MiB of 1024 float32
_TILES = 256  # the number of tiles is a multiple of this, so that few programs are compiled


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
            centred = features[part].astype(np.float32) - self.centre
            for centroids in self.levels:
                words[part], distances[part] = nearest_child(
                    centred, words[part], centroids, self.branching
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
    parents: Int[np.ndarray, " n"],
    centroids: Float[np.ndarray, "m c"],
    branching: int,
    placed: Callable[[np.ndarray], Any] = jnp.asarray,
) -> tuple[Int32[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """(node, squared distance to it) of every feature among the children of its parent.

    Features of one parent stand together in tiles, each one product with that parent's children:
    compared one by one, every feature would fetch all its children from memory. `placed` puts
    arrays whose first axis is the tiles' onto the devices.
    """
    children = centroids.reshape(-1, branching, centroids.shape[1])
    size = _tile_size(len(features), len(children))
    points, owners = tiles(parents, size)
    if len(owners) % _TILES:
        extra = -len(owners) % _TILES
        points = np.pad(points, ((0, extra), (0, 0)), constant_values=-1)
        owners = np.pad(owners, (0, extra))
    child, distance = _nearest(
        placed(features[points].reshape(*points.shape, -1)),
        placed(children[owners]) if len(children) > 1 else jnp.asarray(children),
    )
    kept = points >= 0
    nodes, distances = np.zeros(len(features), np.int32), np.zeros(len(features), np.float32)
    nodes[points[kept]] = (owners[:, None] * branching + np.asarray(child))[kept]
    distances[points[kept]] = np.asarray(distance)[kept]
    return nodes, distances


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


@jax.jit
def _nearest(
    features: Float[Array, "g t c"], children: Float[Array, "o b c"]
) -> tuple[Int[Array, "g t"], Float[Array, "g t"]]:
    if len(children) == 1:  # one parent: one product
        children = children[0]
        products = jnp.einsum("gtc,bc->gtb", features, children)
    else:
        products = jnp.einsum("gtc,gbc->gtb", features, children)
    lengths = jnp.square(children).sum(-1)
    lengths = lengths[:, None] if children.ndim == 3 else lengths[None, None]
    distances = jnp.where(jnp.isnan(lengths), jnp.inf, lengths - 2 * products)
    own = jnp.square(features).sum(-1)
    return jnp.argmin(distances, -1), jnp.maximum(own + distances.min(-1), 0.0)


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
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get("visual_words", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise VisualWordsError(
            f"{path}: not a whole safetensors file ({error}); fit the words anew"
        ) from error
    if about.get("format") != FORMAT or about.get("format_version") != FORMAT_VERSION:
        raise VisualWordsError(
            f"{path}: format {about.get('format')!r} version {about.get('format_version')!r}, "
            f"expected {FORMAT!r} version {FORMAT_VERSION}; make the file with fit-visual-words"
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
