"""What a checkpoint must hold, leaf by leaf: orbax itself notices no flipped bit and casts dtypes
in silence, so a checkpoint counts only with a manifest, and is compared with it when read."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from videobert_jax.files import atomic, digests, json_values, storage
from videobert_jax.files import versions as formats

FORMAT = 2  # 1 had no digest of its own
_DIGEST = "sha256"  # of all else: a flipped bit of a leaf's name would be another model's


class ManifestError(ValueError):
    """A manifest that cannot be read."""


class NewerManifestError(ManifestError):
    """A manifest that a newer version of the program wrote: its checkpoint is not damaged."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A box of a leaf that one device held when it was saved, and the sha256 of its values."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    sha256: str


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Shape, dtype and pieces of one array; the pieces of a whole leaf tile it."""

    shape: tuple[int, ...]
    dtype: str
    pieces: tuple[Piece, ...]

    @property
    def is_whole(self) -> bool:
        return sum(math.prod(piece.shape) for piece in self.pieces) == math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Leaves by name ("params/text_encoder/..."), and what else belongs to the step."""

    step: int
    leaves: dict[str, Leaf]
    data_sha256: str
    config_sha256: str
    versions: dict[str, str]


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of a pytree by name, keys joined by "/", in the order of the tree."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dict of leaves by name: the form in which a checkpoint stores any tree."""
    root: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return root


def host_pieces(tree: Any) -> dict[str, list[tuple[tuple[int, ...], np.ndarray]]]:
    """(start, copy) of every box of every leaf that this process answers for.

    Of the devices that hold the same box, jax numbers one as replica 0: over all processes each
    element is thus taken once, whatever the layout. Copies, since the state is donated next.
    """
    leaves = named_leaves(tree)
    for leaf in leaves.values():
        leaf.copy_to_host_async()  # all transfers at once, then wait for them
    pieces: dict[str, list[tuple[tuple[int, ...], np.ndarray]]] = {}
    for name, leaf in leaves.items():
        pieces[name] = [
            (tuple(part.start or 0 for part in shard.index), np.array(shard.data, copy=True))
            for shard in leaf.addressable_shards
            if shard.replica_id == 0
        ]
    return pieces


def digest_pieces(
    pieces: Mapping[str, Iterable[tuple[tuple[int, ...], np.ndarray]]],
) -> dict[str, list[Piece]]:
    """Pieces with the digests of `host_pieces`."""
    return {
        name: [Piece(start, values.shape, digests.sha256_array(values)) for start, values in boxes]
        for name, boxes in pieces.items()
    }


def differing_pieces(leaf: Leaf, values: np.ndarray) -> list[str]:
    """What is wrong with an array that was read, in words; empty where it is what was saved."""
    if values.shape != leaf.shape or values.dtype.name != leaf.dtype:
        return [
            f"is {values.dtype.name}{list(values.shape)}, saved was {leaf.dtype}{list(leaf.shape)}"
        ]
    found = []
    for piece in leaf.pieces:
        ends = zip(piece.start, piece.shape, strict=True)
        box = np.asarray(values[tuple(slice(start, start + size) for start, size in ends)])
        if digests.sha256_array(box) != piece.sha256:
            found.append(f"values at {list(piece.start)}+{list(piece.shape)} are not those saved")
    return found


def differing_structs(leaves: Mapping[str, Leaf], structs: Any) -> list[str]:
    """How a saved tree differs from the tree wanted, leaf by leaf, in words."""
    wanted = named_leaves(structs)
    found = [
        f"{name}: only the checkpoint has it ({leaves[name].dtype}{list(leaves[name].shape)})"
        for name in leaves
        if name not in wanted
    ]
    for name, struct in wanted.items():
        expected = f"{struct.dtype.name}{list(struct.shape)}"
        if name not in leaves:
            found.append(f"{name}: only the model has it ({expected})")
            continue
        saved = f"{leaves[name].dtype}{list(leaves[name].shape)}"
        if saved != expected:
            found.append(f"{name}: {saved} in the checkpoint, {expected} in the model")
    return found


def tree_digest(tree: Any) -> str:
    """sha256 of a tree of host arrays: names, dtypes, shapes and values, whatever the layout."""
    digest = hashlib.sha256()
    for name, leaf in sorted(named_leaves(tree).items()):
        digest.update(f"{name}:{digests.sha256_array(np.asarray(leaf))}\n".encode())
    return digest.hexdigest()


def write(path: storage.Path, manifest: Manifest) -> None:
    """Writes a manifest atomically: from then on the checkpoint counts.

    Raises FileExistsError where the step has another one.
    """
    fields = {"format": FORMAT, **dataclasses.asdict(manifest)}
    atomic.create_json(path, {**fields, _DIGEST: digests.sha256_json(fields)})


def read(path: storage.Path) -> Manifest:
    """Manifest of a file. Raises ManifestError where it is damaged, NewerManifestError."""
    try:
        fields = json_values.parse(path.read_text())
        own = fields.pop(_DIGEST, None)
        if own is not None and own != digests.sha256_json(fields):
            raise ManifestError(f"{path}: not the manifest that was written.")
        found = fields.pop("format")
        if formats.newer(found, FORMAT):
            raise NewerManifestError(f"{path}: a manifest {formats.refusal(found, FORMAT)}")
        if found != (1 if own is None else FORMAT):
            raise ManifestError(f"{path}: a manifest of another format than {FORMAT}.")
        leaves = {name: _leaf(leaf) for name, leaf in fields.pop("leaves").items()}
        return Manifest(leaves=leaves, **fields)
    except ManifestError:
        raise
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{path}: not a readable manifest ({error}).") from error


def _leaf(fields: dict[str, Any]) -> Leaf:
    pieces = tuple(
        Piece(tuple(piece["start"]), tuple(piece["shape"]), piece["sha256"])
        for piece in fields["pieces"]
    )
    return Leaf(tuple(fields["shape"]), fields["dtype"], pieces)
