"""Videos of drawn features; tiny networks that attend sharply: even weights would hide mistakes."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from tests import bundles, fakes
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.config import BertConfig

TEXTS = list(bundles.CAPTIONS)
CLIPS = (3, 8, 1, 5)  # of a video for each


def videos(clips: Sequence[int]) -> list[np.ndarray]:
    """Clip features of videos of so many clips."""
    generator = np.random.default_rng(3)
    return [generator.normal(size=(n, fakes.FEATURE_DIM)).astype(np.float32) for n in clips]


def attending(
    run,
    norm: str = "pre",
    share: bool = False,
    towers: tuple[int, int] = (2, 2),
    bert: BertConfig | None = None,
) -> PretrainedModel:
    """A network of two cross layers over towers of so many layers, if asked for over a BERT."""
    text = dataclasses.replace(run.model.text, num_layers=towers[0])
    if bert is not None:
        text = dataclasses.replace(text, input="bert_vectors", bert=bert)
    network = dataclasses.replace(
        run.model,
        norm=norm,
        text=text,
        video=dataclasses.replace(run.model.video, num_layers=towers[1]),
        cross=dataclasses.replace(run.model.cross, num_layers=2, share_directions=share),
    )
    bundle = bundles.tiny(dataclasses.replace(run, model=network))
    sharper = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 12 * leaf if {"query", "key"} & {part.key for part in path} else leaf,
        bundle.variables,
    )
    return PretrainedModel(dataclasses.replace(bundle, variables=sharper))
