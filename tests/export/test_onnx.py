import dataclasses
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from tests.export import fresh, programs
from videobert_jax.export import flat, onnx_operators
from videobert_jax.export import safetensors as export
from videobert_jax.export.errors import ExportError
from videobert_jax.export.onnx_graph import Graph, Operand
from videobert_jax.inference.model import PretrainedModel

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

FORMATS = ("onnx",)
FUNCTIONS = ("encode_video", "encode_text", "encode_pair")


def exported(bundle, output: pathlib.Path) -> pathlib.Path:
    export.save_bundle(bundle, output, formats=FORMATS)
    return output


def function(folder, name):
    session = runtime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(None, given), strict=True))


def test_onnxruntime_alone_gives_what_the_package_gives(tiny_run, tmp_path):
    model = PretrainedModel(programs.bundle(tiny_run, "pre_norm"))
    folder, called = exported(model.bundle, tmp_path / "export"), programs.calls(model)
    forbidden = ("videobert_jax", "jax", "jaxlib", "flax", "tensorflow", "torch", "onnx")
    gave = fresh.run(fresh.shown("ONNX"), folder, called, forbidden)
    programs.assert_equal(model, called, gave)


@pytest.mark.parametrize("network", [name for name in programs.NETWORKS if name != "pre_norm"])
def test_every_kind_of_network_is_held(tiny_run, tmp_path, network):
    bundle = programs.bundle(tiny_run, network)
    folder = exported(bundle, tmp_path / "export")
    for name in FUNCTIONS:
        onnx.checker.check_model(str(folder / f"{name}.onnx"), full_check=True)
    in_float32 = dataclasses.replace(bundle.config, compute_dtype="float32")
    model = PretrainedModel(dataclasses.replace(bundle, config=in_float32))
    called = programs.calls(model)[-3:]
    gave = [function(folder, name)(given) for name, given in called]
    programs.assert_equal(model, called, gave)


def test_a_graph_holds_no_weights(tiny_run, tmp_path):
    bundle = programs.bundle(tiny_run, "pre_norm")
    folder = exported(bundle, tmp_path / "export")
    graph = onnx.load(folder / "encode_video.onnx", load_external_data=False).graph
    tensors = {each.name: each for each in graph.initializer}
    kernel = tensors["video_encoder.layers.1.feed_forward.expand.kernel"]
    external = {entry.key: entry.value for entry in kernel.external_data}
    assert external["location"] == "model.safetensors"
    whole = (folder / "model.safetensors").read_bytes()
    first, length = int(external["offset"]), int(external["length"])
    stack = bundle.variables["params"]["video_encoder"]["stack"]["layers"]["layer"]
    expand = stack["feed_forward"]["expand"]["kernel"][1]
    assert whole[first : first + length] == expand.tobytes()
    assert not [name for name in tensors if name.startswith("text_")]


def converted(compute, *inputs):
    """What onnxruntime gives for a function of jax, operation by operation."""
    nested = jax.make_jaxpr(compute)(*inputs)
    closed = jax.make_jaxpr(lambda *values: flat.evaluate(nested, *values))(*inputs)
    graph, known = Graph({}), {}

    def read(atom):
        if isinstance(atom, core.Literal):
            return Operand(graph.constant(atom.val, atom.aval.dtype), atom.aval.shape)
        return known[atom]

    for number, (variable, value) in enumerate(zip(closed.jaxpr.invars, inputs, strict=True)):
        known[variable] = Operand(f"in_{number}", value.shape)
    for equation in closed.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        known[equation.outvars[0]] = onnx_operators.converted(graph, equation, operands)
    (result,) = closed.jaxpr.outvars
    graph.give(graph.whole(read(result), result.aval.shape), "out")
    helper = onnx.helper
    described = [
        helper.make_tensor_value_info(f"in_{i}", graph.element_type(x.dtype), x.shape)
        for i, x in enumerate(inputs)
    ]
    out = helper.make_tensor_value_info("out", graph.element_type(result.aval.dtype), None)
    initializers = list(graph.initializers.values())
    made = helper.make_graph(graph.nodes, "one", described, [out], initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = runtime.InferenceSession(model.SerializeToString())
    return session.run(None, {f"in_{i}": np.asarray(x) for i, x in enumerate(inputs)})[0]


A = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7 - 1
B = np.arange(40, dtype=np.float32).reshape(2, 4, 5) / 9 - 2


@pytest.mark.parametrize(
    ("compute", "inputs"),
    [
        (lambda a, b: jax.lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,)))), (A, B)),
        (lambda a, b: jax.lax.dot_general(a, b, (((2,), (1,)), ((), ()))), (A, B)),
        (lambda a: jax.lax.broadcast_in_dim(a, (3, 2, 5, 3, 4), (1, 3, 4)), (A,)),
        (lambda a: jax.lax.cumsum(a, 1), (A,)),
        (lambda a: (a > 0.3).any(1), (A,)),
        (lambda a: jax.lax.reduce_max(a, (1,)), (A,)),
        (lambda a: jax.lax.iota(jnp.int32, 5) * 2, (A,)),
        (lambda a: jax.lax.select_n(a > 0, a, a * 2 - 1), (A,)),
        (lambda a: jax.lax.rsqrt(jax.lax.square(a) + 1), (A,)),
        (lambda a, n: a.at[n].get(mode="promise_in_bounds"), (jnp.asarray(A), jnp.array([[1, 0]]))),
        (lambda a: jax.lax.concatenate([a, a + 1], 1), (A,)),
    ],
)
def test_an_operation_gives_what_jax_gives(compute, inputs):
    np.testing.assert_allclose(converted(compute, *inputs), compute(*inputs), 1e-6, 1e-6)


@pytest.mark.parametrize(
    ("compute", "named"),
    [
        (jax.lax.sin, r"operation sin\("),
        (lambda a: jax.lax.cumsum(a, 1, reverse=True), r"cumsum\(.*reverse=True"),
        (lambda a: a[:, 1:], r"slice\("),
    ],
)
def test_an_operation_without_an_operator_is_named(compute, named):
    with pytest.raises(ExportError, match=rf"{named}.*--format=stablehlo"):
        converted(compute, A)


def test_an_equal_node_is_made_once():
    graph = Graph({})
    assert graph.add("Exp", "a") == graph.add("Exp", "a") != graph.add("Exp", "b")
    assert graph.constant([1, 2]) == graph.constant(np.array([1, 2])) != graph.constant([1, 3])
    assert isinstance(graph.onnx, types.ModuleType)
