"""VideoBERT in JAX: pretraining on narrated video, evaluation, and models ready to use.

model = videobert_jax.load("runs/kitchen")
model.similarity(["video.mp4"], ["pour the milk into the pan"])
"""

from __future__ import annotations

import os
import typing

if typing.TYPE_CHECKING:
    from videobert_jax.inference.inputs import ClipFeatures, Frames
    from videobert_jax.inference.model import PretrainedModel
    from videobert_jax.inference.search import SearchModel

__version__ = "0.1.0"
__all__ = ["ClipFeatures", "Frames", "PretrainedModel", "load"]

_LAZY = {
    "ClipFeatures": "videobert_jax.inference.inputs",
    "Frames": "videobert_jax.inference.inputs",
    "PretrainedModel": "videobert_jax.inference.model",
}


@typing.overload
def load(
    path: str | os.PathLike,
    *,
    weights: str | None = None,
    revision: str | None = None,
    backbone_weights: str | os.PathLike | None = None,
    maximum_seconds: float | int = 3600,
) -> PretrainedModel: ...


@typing.overload
def load(path: str | os.PathLike, *, vocabulary: str | os.PathLike) -> SearchModel: ...


def load(
    path: str | os.PathLike,
    *,
    vocabulary: str | os.PathLike | None = None,
    weights: str | None = None,
    revision: str | None = None,
    backbone_weights: str | os.PathLike | None = None,
    maximum_seconds: float | int = 3600,
) -> PretrainedModel | SearchModel:
    """A trained model; needs neither TensorFlow nor a mesh.

    path: an export's folder; a run's workdir, for its newest checkpoint that verifies, WORKDIR@STEP
    or WORKDIR@best; or, where no folder is called so, ORG/NAME, a repository of huggingface.co that
    holds an export (extra `hub`), at a `revision`: branch, tag or commit. weights: "raw" or "ema";
    None takes the moving average where a run keeps one. backbone_weights: published file of the
    network that extracts clip features, where no package brings it, as `videobert extract
    --weights` takes it. maximum_seconds: length of the longest video
    that is extracted, in seconds.

    Compiled programs are kept on disk, as `files.compilation_cache` says, so that a later process
    begins to answer sooner.

    With `vocabulary`, the s3d_dict.npy of MIL-NCE, `path` is its s3d_howto100m.pth: a zero-shot
    search model of clips and sentences.
    Raises LoadError where `path` is none of these, ExportError or CheckpointError where it is
    damaged or of a newer format version, MissingExtra without huggingface_hub; WeightsError or
    WordListError where a file of the search model holds something else.
    """
    # jax is loaded only when a model is
    from videobert_jax.files import compilation_cache

    compilation_cache.use()
    if vocabulary is not None:
        from videobert_jax.inference import search

        return search.load(path, vocabulary)
    from videobert_jax import loading
    from videobert_jax.inference.model import PretrainedModel

    bundle = loading.load_bundle(os.fspath(path), weights, revision=revision)
    return PretrainedModel(
        bundle, backbone_weights=backbone_weights, maximum_seconds=maximum_seconds
    )


def __getattr__(name: str) -> typing.Any:
    """What brings jax is imported when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
