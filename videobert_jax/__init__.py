"""VideoBERT in JAX: pretraining on narrated video, evaluation, and models ready to use.

model = videobert_jax.load("runs/kitchen/export")
model.similarity([clip_features], ["pour the milk into the pan"])
"""

from __future__ import annotations

import os
import typing

if typing.TYPE_CHECKING:
    from videobert_jax.inference.model import PretrainedModel
    from videobert_jax.inference.search import SearchModel

__version__ = "0.1.0"


@typing.overload
def load(path: str | os.PathLike) -> PretrainedModel: ...


@typing.overload
def load(path: str | os.PathLike, *, vocabulary: str | os.PathLike) -> SearchModel: ...


def load(
    path: str | os.PathLike, *, vocabulary: str | os.PathLike | None = None
) -> PretrainedModel | SearchModel:
    """The model of an export's folder; needs neither TensorFlow nor a mesh.

    With `vocabulary`, the s3d_dict.npy of MIL-NCE, `path` is its s3d_howto100m.pth: a zero-shot
    search model of clips and sentences.
    Raises ExportError where the folder is no export, is damaged, or is of another format version;
    WeightsError or WordListError where a file of the search model holds something else.
    """
    # jax is loaded only when a model is
    if vocabulary is not None:
        from videobert_jax.inference import search

        return search.load(path, vocabulary)
    from videobert_jax.inference import model

    return model.load(path)
