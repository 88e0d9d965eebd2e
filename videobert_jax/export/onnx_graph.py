"""An ONNX graph as it is built: nodes, constants, weights in a file beside it, sizes known when it
runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax import export as jax_export

from videobert_jax.files import extras


@dataclasses.dataclass(frozen=True)
class Operand:
    """A value of the graph. Its shape may have 1 where the operation that made it has a larger
    dimension: ONNX broadcasts where it is read, as NumPy does, and nothing is copied before."""

    name: str
    shape: tuple[Any, ...]  # sizes, and symbols of jax.export


class Graph:
    """What nodes are added to. `sizes` says where each symbol is found: an input and its axis."""

    def __init__(self, sizes: Mapping[str, tuple[str, int]]):
        self.onnx: Any = extras.require("onnx", "onnx")
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._sizes = sizes
        self._made: dict[Any, str] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Name of the output of a new node, or of the equal node that is there already."""
        key = (operator, inputs, repr(sorted(attributes.items())))
        if key not in self._made:
            output = f"{operator.lower()}_{len(self.nodes)}"
            node = self.onnx.helper.make_node(operator, inputs, [output], **attributes)
            self.nodes.append(node)
            self._made[key] = output
        return self._made[key]

    def give(self, value: str, name: str) -> None:
        """Makes a value an output of this name."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Name of a constant inside the graph."""
        array = np.ascontiguousarray(np.asarray(value, dtype)).reshape(np.shape(value))
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._made:
            self._made[key] = name = f"constant_{len(self._made)}"
            self.initializers[name] = self.onnx.numpy_helper.from_array(array, name)
        return self._made[key]

    def weight(
        self, name: str, shape: Sequence[int], dtype: Any, file: str, place: tuple[int, int]
    ) -> str:
        """Name of a tensor whose values stand in `file`, from a byte on and so many of them."""
        tensor = self.onnx.TensorProto(
            name=name, dims=shape, data_type=self.element_type(dtype), data_location="EXTERNAL"
        )
        first, length = place
        for key, value in (("location", file), ("offset", first), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers[name] = tensor
        return name

    def element_type(self, dtype: Any) -> int:
        """ONNX's number of a NumPy dtype."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def size(self, dimension: Any) -> str:
        """Name of an int64 [1] with a size, measured at run time where it is a symbol."""
        if not jax_export.is_symbolic_dim(dimension):
            return self.constant([int(dimension)])
        name, axis = self._sizes[str(dimension)]
        return self.add("Shape", name, start=axis, end=axis + 1)

    def shape(self, dimensions: Sequence[Any]) -> str:
        """Name of an int64 vector of these sizes."""
        if not any(map(jax_export.is_symbolic_dim, dimensions)):
            return self.constant([int(size) for size in dimensions])
        return self.add("Concat", *map(self.size, dimensions), axis=0)

    def whole(self, operand: Operand, shape: Sequence[Any]) -> str:
        """Name of the operand's values with all dimensions of `shape`."""
        if operand.shape == tuple(shape):
            return operand.name
        return self.add("Expand", operand.name, self.shape(shape))
