"""Networks that turn clips into features, by name: each with its weights and its clips."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from videobert_jax import extensions
from videobert_jax.schema import FeatureContract
from videobert_jax.video import clips, extract
from videobert_jax.weights import i3d, s3d


class BackboneError(ValueError):
    """A backbone that is not known, or one without its weights."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    """How a backbone is loaded (from None: the weights that a package brings), its clips, and what
    contracts call it."""

    load: Callable[[Any], extract.Backbone]
    settings: clips.ClipSettings
    called: str
    source: str | None  # where a user gets the weights; None where a package brings them


# 16 frames over 1.5 seconds, one clip behind another, as the kitchen's features are made.
I3D_CLIPS = clips.ClipSettings(fps=32 / 3, frames_per_clip=16, stride_frames=16)
# 1.5 seconds at 20 frames a second, without overlap: VideoBERT's clips (section 4.1).
S3D_KINETICS_CLIPS = clips.ClipSettings(fps=20, frames_per_clip=30, stride_frames=30)
# 2 seconds at 16 frames a second, as in MIL-NCE's evaluation.
S3D_HOWTO100M_CLIPS = clips.ClipSettings(fps=16, frames_per_clip=32, stride_frames=32)

_BACKBONES = {
    "i3d_kinetics": _Entry(i3d.load_backbone, I3D_CLIPS, i3d.NAME, None),
    "s3d_kinetics": _Entry(
        s3d.load_kinetics, S3D_KINETICS_CLIPS, s3d.KINETICS_NAME, s3d.KINETICS_SOURCE
    ),
    "s3d_howto100m": _Entry(
        s3d.load_howto100m, S3D_HOWTO100M_CLIPS, s3d.HOWTO100M_NAME, s3d.HOWTO100M_SOURCE
    ),
}
NAMES = tuple(_BACKBONES)
MODULE_NAMES = ("CLIPS", "load")  # what a backbone of another package offers


def load_backbone(
    name: str, weights_path: str | os.PathLike | None = None
) -> tuple[extract.Backbone, clips.ClipSettings]:
    """The backbone called `name` with its weights, and the clips it was trained on.

    name: one of NAMES, or the dotted path of a module of another package (docs/extending.md).

    `weights_path`: the published file; None takes the weights of an installed package where there
    is one. Pixels go in as uint8 [g, s, side, side, 3]: scaling them is part of `apply`.
    Raises BackboneError on an unknown name or a missing path, MissingExtra where the package is
    absent, and WeightsError where the file holds something else.
    """
    if extensions.is_path(name):
        return _load_own(name, _weights_file(name, weights_path))
    if name not in _BACKBONES:
        raise BackboneError(
            f"backbone {name!r} is not known; choose one of {', '.join(NAMES)}, or name a "
            "package.module of your own."
        )
    entry = _BACKBONES[name]
    if weights_path is None and entry.source is not None:
        raise BackboneError(f"{name} needs the file of its weights; fetch it from {entry.source}.")
    return entry.load(_weights_file(name, weights_path)), entry.settings


def _weights_file(name: str, given: str | os.PathLike | None) -> pathlib.Path | None:
    path = None if given is None else pathlib.Path(given)
    if path is not None and not path.is_file():
        raise BackboneError(f"{path}, the weights of {name}, is not there; give the file's path.")
    return path


def _load_own(name: str, path: pathlib.Path | None) -> tuple[extract.Backbone, clips.ClipSettings]:
    """Of a module of another package, which is called in contracts as it is imported."""
    module = extensions.load(name, MODULE_NAMES, "--backbone")
    backbone = module.load(path)
    if not isinstance(backbone, extract.Backbone) or backbone.name != name:
        found = getattr(backbone, "name", f"a {type(backbone).__name__}")
        raise BackboneError(
            f"--backbone={name}: load gave {found!r}; expected a videobert_jax.video.extract."
            f"Backbone with the name {name!r}, by which contracts say where it is."
        )
    return backbone, module.CLIPS


def of_contract(
    contract: FeatureContract, weights_path: str | os.PathLike | None = None
) -> tuple[extract.Backbone, clips.ClipSettings]:
    """The backbone that made features of this contract, and its clips at the contract's stride.

    Raises BackboneError where it is none of NAMES, ClipError on a stride that is no whole number of
    its frames, and what `load_backbone` does. Whether weights and clips are the contract's is for
    the caller to verify.
    """
    names = [name for name, entry in _BACKBONES.items() if entry.called == contract.backbone]
    if extensions.is_path(contract.backbone) and contract.backbone in sys.modules:
        names = [contract.backbone]  # imported by the user: a file that is read imports nothing
    known = ", ".join(entry.called for entry in _BACKBONES.values())
    if not names:
        raise BackboneError(
            f"the model reads clip features of the backbone {contract.backbone!r}, which is none "
            f"of this package ({known}) and no module that was imported; import it first, or "
            "extract them where it is, and give [clips, dim] arrays or .npy files with their "
            "contract.json."
        )
    backbone, settings = load_backbone(names[0], weights_path)
    return backbone, settings.with_stride(contract.stride_seconds)
