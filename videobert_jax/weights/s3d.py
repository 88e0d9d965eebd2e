"""Published weights of S3D: torchvision's for Kinetics-400, MIL-NCE's S3D-G for HowTo100M.

Neither file comes with this package. Batch normalisation is folded into the convolutions.
"""

import os
import pathlib
from collections.abc import Mapping

import jax
import numpy as np

from videobert_jax.files import digests, torch_files
from videobert_jax.models import word_tower
from videobert_jax.video import extract
from videobert_jax.video.backbones import inception, s3d
from videobert_jax.weights.errors import WeightsError

KINETICS_NAME, HOWTO100M_NAME = "s3d_kinetics400", "s3d_howto100m"
KINETICS_SOURCE = "https://download.pytorch.org/models/s3d-d76dad2f.pth"
HOWTO100M_SOURCE = "https://www.rocq.inria.fr/cluster-willow/amiech/howto100m/s3d_howto100m.pth"

# torchvision's S3D sets it; the published S3D-G leaves PyTorch's own.
KINETICS_EPSILON = 1e-3
HOWTO100M_EPSILON = 1e-5

# Places of torchvision's `features`, between which the poolings stand.
_KINETICS_MODULES = dict(
    zip(inception.MIXED_CHANNELS, (5, 6, 8, 9, 10, 11, 12, 14, 15), strict=True)
)
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


class _Arrays:
    """Arrays of a file, each of which is taken once and none is left."""

    def __init__(self, arrays: Mapping[str, np.ndarray], epsilon: float):
        self._left = dict(arrays)
        self._epsilon = epsilon

    def take(self, name: str) -> np.ndarray:
        if name not in self._left:
            raise WeightsError(
                f"the weights have no array {name}; this is another network or a part of it: "
                "fetch the published file again."
            )
        array = np.asarray(self._left.pop(name))
        if not np.isfinite(array).all():
            raise WeightsError(f"{name} has NaN or infinite numbers; fetch the file again.")
        return array

    def unit(self, convolution: str, norm: str) -> dict[str, np.ndarray]:
        """Kernel [s, y, x, c, c2] and bias of a convolution with the norm behind it folded in."""
        kernel = self.take(f"{convolution}.weight").astype(np.float64)
        scale, bias, mean, variance = (
            self.take(f"{norm}.{name}").astype(np.float64) for name in _STATISTICS
        )
        self.take(f"{norm}.num_batches_tracked")  # counts steps of the training, nothing else
        if kernel.ndim != 5 or {scale.shape, bias.shape, mean.shape, variance.shape} != {
            kernel.shape[:1]
        }:
            raise WeightsError(
                f"{convolution}.weight has the shape {list(kernel.shape)} and {norm}.weight "
                f"{list(scale.shape)}; expected [c2, c, s, y, x] and [c2]: another network."
            )
        if (variance < 0).any():
            raise WeightsError(f"{norm}.running_var is negative; fetch the file again.")
        factor = scale / np.sqrt(variance + self._epsilon)
        return {
            "kernel": (kernel.transpose(2, 3, 4, 1, 0) * factor).astype(np.float32),
            "bias": (bias - mean * factor).astype(np.float32),
        }

    def dense(self, name: str) -> dict[str, np.ndarray]:
        """Kernel [c, c2] and bias of a product, which a 1 x 1 x 1 convolution is too."""
        kernel = self.take(f"{name}.weight")
        return {
            "kernel": np.ascontiguousarray(kernel.reshape(kernel.shape[:2]).T, np.float32),
            "bias": self.take(f"{name}.bias").astype(np.float32),
        }

    def finish(self) -> None:
        """Raises WeightsError where an array was not taken."""
        if self._left:
            names = ", ".join(sorted(self._left)[:5])
            raise WeightsError(
                f"the weights hold {len(self._left)} arrays that the network has no place for "
                f"({names}); this is another network: give the published file."
            )


def convert_kinetics(arrays: Mapping[str, np.ndarray]) -> dict:
    """Variables of `KineticsS3D` from the state dict of torchvision's `s3d`.

    Raises WeightsError where a name is missing or left over, or a shape is another.
    """
    source = _Arrays(arrays, KINETICS_EPSILON)

    def unit(path: str) -> dict:
        return source.unit(f"{path}.0", f"{path}.1")

    def separable(path: str) -> dict:
        return {"space": unit(f"{path}.0"), "time": unit(f"{path}.1")}

    trunk = {"conv_2b": unit("features.2"), "conv_2c": separable("features.3")}
    for name, place in _KINETICS_MODULES.items():
        path = f"features.{place}"
        trunk[name] = {
            "reduce": _side_by_side(
                unit(f"{path}.branch0"), unit(f"{path}.branch1.0"), unit(f"{path}.branch2.0")
            ),
            "branch_1": separable(f"{path}.branch1.1"),
            "branch_2": separable(f"{path}.branch2.1"),
            "branch_3": unit(f"{path}.branch3.1"),
        }
    params = {
        "stem": separable("features.0"),
        "trunk": trunk,
        "logits": source.dense("classifier.1"),
    }
    source.finish()
    return _checked({"params": params}, s3d.parameter_structs(s3d.KineticsS3D))


def convert_howto100m(arrays: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
    """Variables of `HowTo100MS3D` and of `WordTower` from the state dict of MIL-NCE's S3D-G.

    Raises WeightsError where a name is missing or left over, or a shape is another.
    """
    source = _Arrays(arrays, HOWTO100M_EPSILON)

    def unit(path: str, number: int = 1) -> dict:
        return source.unit(f"{path}.conv{number}", f"{path}.bn{number}")

    def separable(path: str) -> dict:
        return {"space": unit(path), "time": unit(path, 2)}

    def gate(path: str) -> dict:
        return {"weights": source.dense(f"{path}.fc")}

    trunk = {"conv_2b": unit("conv_2b"), "conv_2c": separable("conv_2c"), "gate": gate("gating")}
    for name in inception.MIXED_CHANNELS:
        path = name.lower()
        trunk[name] = {
            "reduce": _side_by_side(
                unit(f"{path}.conv_b0"), unit(f"{path}.conv_b1_a"), unit(f"{path}.conv_b2_a")
            ),
            "branch_1": separable(f"{path}.conv_b1_b"),
            "branch_2": separable(f"{path}.conv_b2_b"),
            "branch_3": unit(f"{path}.conv_b3_b"),
            **{f"gate_{i}": gate(f"{path}.gating_b{i}") for i in range(4)},
        }
    video = {"stem": unit("conv1"), "trunk": trunk, "joint": source.dense("fc")}
    vectors = source.take("text_module.word_embd.weight").astype(np.float32)
    text = {
        "words": {"embedding": vectors},
        "hidden": source.dense("text_module.fc1"),
        "joint": source.dense("text_module.fc2"),
    }
    source.finish()
    return (
        _checked({"params": video}, s3d.parameter_structs(s3d.HowTo100MS3D)),
        _checked({"params": text}, word_tower.parameter_structs()),
    )


def _side_by_side(*units: dict) -> dict:
    """One unit of which each given one computes a part of the channels."""
    return {
        name: np.concatenate([unit[name] for unit in units], axis=-1) for name in ("kernel", "bias")
    }


def _checked(variables: dict, expected: dict) -> dict:
    """The variables. Raises WeightsError where their shapes are not the expected ones."""
    found = dict(jax.tree_util.tree_flatten_with_path(variables)[0])
    for path, struct in jax.tree_util.tree_flatten_with_path(expected)[0]:
        if found[path].shape != struct.shape:
            raise WeightsError(
                f"{jax.tree_util.keystr(path)} has the shape {list(found[path].shape)}, expected "
                f"{list(struct.shape)}: the weights are another network's."
            )
    return variables


def load_kinetics(path: str | os.PathLike) -> extract.Backbone:
    """torchvision's S3D for Kinetics-400, ready for `video.extract`. `path`: KINETICS_SOURCE.

    Raises WeightsError where it is not there or holds something else.
    """
    arrays, digest = _read(path, KINETICS_SOURCE)
    return extract.Backbone(
        name=KINETICS_NAME,
        layer="mixed_5c, mean as the classifier's",
        dim=s3d.FEATURE_DIM,
        side=s3d.SIDE,
        squashed=256,
        weights_sha256=digest,
        variables=convert_kinetics(arrays),
        apply=s3d.kinetics_features,
    )


def load_howto100m(path: str | os.PathLike) -> extract.Backbone:
    """MIL-NCE's S3D-G, ready for `video.extract`. Raises as `load_search`."""
    return load_search(path)[0]


def load_search(path: str | os.PathLike) -> tuple[extract.Backbone, dict]:
    """MIL-NCE's S3D-G with the variables of its text tower (`WordTower`).

    `path`: HOWTO100M_SOURCE. Raises WeightsError where it is not there or holds something else.
    """
    arrays, digest = _read(path, HOWTO100M_SOURCE)
    video, text = convert_howto100m(arrays)
    backbone = extract.Backbone(
        name=HOWTO100M_NAME,
        layer="mixed_5c, mean over time and space",
        dim=s3d.FEATURE_DIM,
        side=s3d.SIDE,
        weights_sha256=digest,
        variables=video,
        apply=s3d.howto100m_features,
    )
    return backbone, text


def _read(path: str | os.PathLike, source: str) -> tuple[dict[str, np.ndarray], str]:
    """State dict of a file, and the file's sha256."""
    if not pathlib.Path(path).is_file():
        raise WeightsError(f"{path} is not there; fetch it from {source}.")
    arrays = torch_files.read_torch(path)
    if not isinstance(arrays, dict) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in arrays.items()
    ):
        raise WeightsError(f"{path} is no state dict; give the file from {source}.")
    return arrays, digests.sha256_file(path)
