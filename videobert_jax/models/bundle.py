"""A trained model with all that is needed to use it and to judge what it gives."""

import dataclasses
from typing import Any

from videobert_jax.data.config import DataConfig
from videobert_jax.models.config import ModelConfig
from videobert_jax.schema import FeatureContract


@dataclasses.dataclass(frozen=True)
class ModelBundle:
    """What a workdir's checkpoint and an export both hold.

    `variables` is `{"params": ..., "constants": {"video_embedding": {"mean": [c], "scale": [c]},
    ...}}` with the layers of a stack stacked on axis 0, as `VideoBert.apply` takes it; NumPy's or
    jax's. Further constants are those of the network's other modules, such as a tree of visual
    words.
    `tokenizer_model` is what `text.tokenizer.Tokenizer` reads. `trained_on` is `{"datasets":
    [{"name", "path", "digest", "split", "video_names_digest"}], "video_names": [...]}`; evaluation
    computes from it what it saw in training. `digest` is that of the checkpoint's parameters: an
    export keeps it. `weights` says which of a run's they are, one of `config.WEIGHTS`.
    """

    config: ModelConfig
    data: DataConfig
    variables: dict[str, Any]
    tokenizer_model: bytes
    contract: FeatureContract
    trained_on: dict[str, Any]
    step: int
    digest: str
    weights: str
    name: str
