"""Names of the tensors of an export: parameters joined by dots, layers unstacked.

In training the layers of a stack are scanned, so every leaf under `.../stack/layers/layer/` has
the layers on its axis 0. An export has one tensor a layer, `text_encoder.layers.0.attention...`,
as readers of other frameworks expect. Constants, which training leaves as they are, begin with
`constants.`; but for the input statistics, which an export has in its config.json.
docs/export.md lists the names.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from videobert_jax.export.errors import ExportError
from videobert_jax.models import variables
from videobert_jax.models.config import ModelConfig

_STACK = ("stack", "layers", "layer")
_CONSTANTS = "constants"
_STATISTICS = "video_embedding"  # whose constants are the input statistics
_LAYER = re.compile(r"(?P<stem>.+?)\.layers\.(?P<number>\d+)\.(?P<inner>.+)")


class NamesError(ExportError):
    """Tensors that are not those of the network that the settings describe."""


def unstack(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tensors by name, sorted, of a network's variables, its input statistics left out."""
    tensors: dict[str, np.ndarray] = {}
    for path, leaf in _leaves(_named(variables)).items():
        values = np.asarray(leaf)
        stem, in_layer = _split(path)
        if in_layer is None:
            tensors[stem] = values
            continue
        for layer, slice_of_layer in enumerate(values):
            tensors[f"{stem}.layers.{layer}.{in_layer}"] = slice_of_layer
    return {name: np.array(tensors[name], order="C") for name in sorted(tensors)}


def require_network(tensors: Mapping[str, np.ndarray], config: ModelConfig, source: str) -> None:
    """Raises NamesError where a tensor of the network that `config` describes is missing, or one is
    not the network's, or has another shape or dtype. `source` says where they come from."""
    _compare(tensors, tensor_structs(config), source)


def arrange(tensors: Mapping[str, Any], join: Callable[[list[Any]], Any]) -> dict[str, Any]:
    """Variables of a network, without input statistics, out of its tensors by name; `join` makes
    the leaf of a stack of the tensors of its layers. `unstack` undone, with `join` np.stack."""
    leaves: dict[tuple[str, ...], Any] = {}
    layers: dict[tuple[str, ...], dict[int, Any]] = {}
    for name, tensor in tensors.items():
        if found := _LAYER.fullmatch(name):
            path = (*found["stem"].split("."), *_STACK, *found["inner"].split("."))
            layers.setdefault(path, {})[int(found["number"])] = tensor
        else:
            leaves[tuple(name.split("."))] = tensor
    for path, by_number in layers.items():
        leaves[path] = join([by_number[number] for number in sorted(by_number)])
    params = traverse_util.unflatten_dict(leaves)
    constants = params.pop(_CONSTANTS, {})
    return {"params": params, _CONSTANTS: constants}


def tensor_structs(config: ModelConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the tensors of an export of the network, by name."""
    return _tensor_structs(_expected(config))


def variable_structs(config: ModelConfig) -> dict[str, Any]:
    """Trees of `ShapeDtypeStruct` like the variables of the network; nothing is computed."""
    # Parameters are the same in every form of attention.
    return variables.structs(dataclasses.replace(config, attention="dense"))


def _expected(config: ModelConfig) -> dict[str, Any]:
    return _named(variable_structs(config))


def _named(variables: Mapping[str, Any]) -> dict[str, Any]:
    """One tree of what an export has tensors of."""
    constants = variables[_CONSTANTS].items()
    kept = {module: leaves for module, leaves in constants if module != _STATISTICS}
    return {**variables["params"], _CONSTANTS: kept}


def _tensor_structs(tree: Any) -> dict[str, jax.ShapeDtypeStruct]:
    structs: dict[str, jax.ShapeDtypeStruct] = {}
    for path, struct in _leaves(tree).items():
        stem, in_layer = _split(path)
        if in_layer is None:
            structs[stem] = struct
            continue
        layer = jax.ShapeDtypeStruct(struct.shape[1:], struct.dtype)
        structs |= {f"{stem}.layers.{i}.{in_layer}": layer for i in range(struct.shape[0])}
    return structs


def _compare(
    tensors: Mapping[str, np.ndarray], expected: Mapping[str, jax.ShapeDtypeStruct], source: str
) -> None:
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    differing = [
        f"{name} is {tensors[name].dtype}{list(tensors[name].shape)}, expected "
        f"{struct.dtype}{list(struct.shape)}"
        for name, struct in expected.items()
        if name in tensors
        and (tensors[name].shape, tensors[name].dtype) != (struct.shape, struct.dtype)
    ]
    found = [
        *(f"{name} is missing" for name in missing),
        *(f"{name} is no tensor of this network" for name in extra),
        *differing,
    ]
    if found:
        shown = "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
        raise NamesError(
            f"{source}: not the network that its settings describe: {shown}. Export the "
            "checkpoint anew, and keep the files of one export together."
        )


def _leaves(tree: Any) -> dict[tuple[str, ...], Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_keys(path): leaf for path, leaf in leaves}


def _keys(path: Any) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _split(path: tuple[str, ...]) -> tuple[str, str | None]:
    """(dotted name before the stack, dotted name inside a layer), the latter None outside one."""
    for start in range(len(path) - len(_STACK) + 1):
        if path[start : start + len(_STACK)] == _STACK:
            return ".".join(path[:start]), ".".join(path[start + len(_STACK) :])
    return ".".join(path), None
