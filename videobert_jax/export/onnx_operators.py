"""Operators of ONNX for the operations of jax that the encoders consist of, once they are flat."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import export as jax_export

from videobert_jax.export.errors import ExportError
from videobert_jax.export.onnx_graph import Graph, Operand

# One operator each, place by place.
_ELEMENTWISE = {
    "add": "Add",
    "and": "And",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "gt": "Greater",
    "lt": "Less",
    "max": "Max",
    "mul": "Mul",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def converted(graph: Graph, equation: Any, operands: Sequence[Operand]) -> Operand:
    """The result of one equation of a flat jaxpr that has one result.

    Raises ExportError where ONNX has no operator for it here.
    """
    name, settings = equation.primitive.name, equation.params
    if name in _ELEMENTWISE:
        return _elementwise(graph, _ELEMENTWISE[name], operands)
    if name in _BROADCASTING:
        return _BROADCASTING[name](graph, operands, settings)
    if name not in _WHOLE:
        raise _missing(name, settings)
    inputs = [
        Operand(graph.whole(operand, variable.aval.shape), variable.aval.shape)
        for operand, variable in zip(operands, equation.invars, strict=True)
    ]
    return Operand(_WHOLE[name](graph, inputs, settings), equation.outvars[0].aval.shape)


def _missing(name: str, settings: dict[str, Any]) -> ExportError:
    said = ", ".join(f"{key}={value}" for key, value in settings.items() if value is not None)
    return ExportError(
        f"onnx: the network has the operation {name}({said}), for which export/onnx_operators.py "
        "knows no operator; use --format=stablehlo."
    )


def _broadcast(operands: Sequence[Operand]) -> tuple[Any, ...]:
    """The shape of a result place by place, 1 where it is 1 in all operands."""
    rank = max(len(operand.shape) for operand in operands)
    padded = [(1,) * (rank - len(operand.shape)) + operand.shape for operand in operands]
    return tuple(
        next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True)
    )


def _elementwise(graph: Graph, operator: str, operands: Sequence[Operand]) -> Operand:
    names = (operand.name for operand in operands)
    return Operand(graph.add(operator, *names), _broadcast(operands))


# Those that read operands as they are, smaller than their shape in jax, and may give such.


def _convert(graph: Graph, operands: Sequence[Operand], settings: Any) -> Operand:
    to = graph.element_type(settings["new_dtype"])
    return Operand(graph.add("Cast", operands[0].name, to=to), operands[0].shape)


def _rsqrt(graph: Graph, operands: Sequence[Operand], _: Any) -> Operand:
    root = graph.add("Sqrt", operands[0].name)
    return Operand(graph.add("Reciprocal", root), operands[0].shape)


def _square(graph: Graph, operands: Sequence[Operand], _: Any) -> Operand:
    return _elementwise(graph, "Mul", [operands[0], operands[0]])


def _not_equal(graph: Graph, operands: Sequence[Operand], _: Any) -> Operand:
    equal = _elementwise(graph, "Equal", operands)
    return Operand(graph.add("Not", equal.name), equal.shape)


def _select(graph: Graph, operands: Sequence[Operand], _: Any) -> Operand:
    condition, if_false, if_true = operands
    return _elementwise(graph, "Where", [condition, if_true, if_false])


def _broadcast_in_dim(graph: Graph, operands: Sequence[Operand], settings: Any) -> Operand:
    (operand,) = operands
    if not operand.shape:
        return operand
    kept = settings["broadcast_dimensions"]
    rank = len(settings["shape"])
    shape: list[Any] = [1] * rank
    for axis, size in zip(kept, operand.shape, strict=True):
        shape[axis] = size
    added = [axis for axis in range(rank) if axis not in kept]
    if not added:
        return Operand(operand.name, tuple(shape))
    return Operand(graph.add("Unsqueeze", operand.name, graph.constant(added)), tuple(shape))


def _iota(graph: Graph, _: Sequence[Operand], settings: Any) -> Operand:
    (size,) = settings["shape"]  # the network's have one dimension
    if not jax_export.is_symbolic_dim(size):
        return Operand(graph.constant(np.arange(size), settings["dtype"]), (size,))
    stop = graph.add("Squeeze", graph.size(size))
    numbers = graph.add("Range", graph.constant(0), stop, graph.constant(1))
    to = graph.element_type(settings["dtype"])
    return Operand(graph.add("Cast", numbers, to=to), (size,))


# Those that read operands in their whole shape, and give such; only the name is given back.


def _reshape(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    (operand,), sizes = operands, settings["new_sizes"]
    # 0 is the operand's size at this place: then nothing is measured at run time.
    same = dict(enumerate(operand.shape))
    copied = [0 if same.get(axis) == size else size for axis, size in enumerate(sizes)]
    return graph.add("Reshape", operand.name, graph.shape(copied))


def _squeeze(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    return graph.add("Squeeze", operands[0].name, graph.constant(settings["dimensions"]))


def _transpose(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    return graph.add("Transpose", operands[0].name, perm=list(settings["permutation"]))


def _concatenate(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    names = (operand.name for operand in operands)
    return graph.add("Concat", *names, axis=settings["dimension"])


def _cumsum(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    if settings["reverse"]:
        raise _missing("cumsum", settings)
    return graph.add("CumSum", operands[0].name, graph.constant(settings["axis"]))


def _reduce_sum(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    return graph.add("ReduceSum", operands[0].name, graph.constant(settings["axes"]), keepdims=0)


def _reduce_max(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    return graph.add("ReduceMax", operands[0].name, graph.constant(settings["axes"]), keepdims=0)


def _reduce_or(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    numbers = graph.add("Cast", operands[0].name, to=graph.element_type(np.int32))
    highest = _reduce_max(graph, [Operand(numbers, operands[0].shape)], settings)
    return graph.add("Cast", highest, to=graph.element_type(np.bool_))


def _gather(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    """Rows of a table, or the part at one index of an axis: whole slices along one axis."""
    (table, indices), numbers = operands, settings["dimension_numbers"]
    axis, *more = numbers.start_index_map
    rank = len(indices.shape) - 1 + len(table.shape) - 1
    places = [place for place in range(rank) if place not in numbers.offset_dims]
    expected = list(range(axis, axis + len(indices.shape) - 1))
    whole = tuple(1 if at == axis else size for at, size in enumerate(table.shape))
    if (
        more
        or numbers.collapsed_slice_dims != (axis,)
        or numbers.operand_batching_dims
        or settings["slice_sizes"] != whole
        or places != expected
    ):
        raise _missing("gather", settings)
    last = graph.constant([len(indices.shape) - 1])
    return graph.add("Gather", table.name, graph.add("Squeeze", indices.name, last), axis=axis)


def _dot_general(graph: Graph, operands: Sequence[Operand], settings: Any) -> str:
    (contracted, batched) = settings["dimension_numbers"]
    left, right = operands
    if batched == ((), ()) and contracted == ((len(left.shape) - 1,), (0,)):
        return graph.add("MatMul", left.name, right.name)
    letters: list[dict[int, str]] = [{}, {}]
    free = iter(_LETTERS)
    for pairs in (batched, contracted):
        for axes in zip(*pairs, strict=True):
            letter = next(free)
            for side, axis in zip(letters, axes, strict=True):
                side[axis] = letter
    shared = "".join(letters[0][axis] for axis in batched[0])
    terms, alone = [], ""
    for side, operand in zip(letters, operands, strict=True):
        for axis in range(len(operand.shape)):
            if axis not in side:
                side[axis] = next(free)
                alone += side[axis]
        terms.append("".join(side[axis] for axis in range(len(operand.shape))))
    equation = f"{terms[0]},{terms[1]}->{shared}{alone}"
    return graph.add("Einsum", left.name, right.name, equation=equation)


_BROADCASTING: dict[str, Callable[[Graph, Sequence[Operand], Any], Operand]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "convert_element_type": _convert,
    "iota": _iota,
    "ne": _not_equal,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "square": _square,
}
_WHOLE: dict[str, Callable[[Graph, Sequence[Operand], Any], str]] = {
    "concatenate": _concatenate,
    "cumsum": _cumsum,
    "dot_general": _dot_general,
    "gather": _gather,
    "reduce_max": _reduce_max,
    "reduce_or": _reduce_or,
    "reduce_sum": _reduce_sum,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
}
