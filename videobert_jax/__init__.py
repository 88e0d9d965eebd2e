"""VideoBERT in JAX: pretraining on narrated video, evaluation, and models ready to use.

model = videobert_jax.load("runs/kitchen/export")
model.similarity([clip_features], ["pour the milk into the pan"])
"""

from __future__ import annotations

import os
import typing

if typing.TYPE_CHECKING:
    from videobert_jax.inference.model import PretrainedModel

__version__ = "0.1.0"


def load(path: str | os.PathLike) -> PretrainedModel:
    """The model of an export's folder; needs neither TensorFlow nor a mesh.

    Raises ExportError where the folder is no export, is damaged, or is of another format version.
    """
    from videobert_jax.inference import model  # jax is loaded only when a model is

    return model.load(path)
