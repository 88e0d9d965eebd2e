"""A whole little model with random weights, for tests of exports and inference."""

import dataclasses

import jax
import numpy as np

from tests import fakes
from videobert_jax import configuration, schema
from videobert_jax.models import variables
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import RAW
from videobert_jax.text import tokenizer

CAPTIONS = (
    "cut the onion on the board",
    "pour the milk into the pan slowly",
    "now stir the egg with salt",
    "add chopped carrot and cook",
)


def tiny(
    run: configuration.RunConfig, seed: int = 0, feature_dim: int = fakes.FEATURE_DIM
) -> ModelBundle:
    """Bundle of the network of `run` for features of so many dimensions.

    Every parameter and statistic is drawn anew: zeros and ones of the init would hide a mistake.
    """
    tokenizer_model = tokenizer.train(CAPTIONS, run.data.vocabulary_size)
    config = configuration.resolve_model(
        run,
        vocabulary_size=tokenizer.Tokenizer(tokenizer_model).size,
        feature_dim=feature_dim,
    )
    generator = np.random.default_rng(seed)
    drawn = jax.tree.map(
        lambda leaf: generator.normal(0.0, 0.2, leaf.shape).astype(np.float32),
        variables.structs(config),
    )
    drawn["constants"]["video_embedding"] = {
        "mean": generator.normal(size=feature_dim).astype(np.float32),
        "scale": generator.uniform(0.5, 2.0, feature_dim).astype(np.float32),
    }
    return ModelBundle(
        config=config,
        data=dataclasses.replace(run.data, text_length=run.model.text.max_length),
        variables=drawn,
        tokenizer_model=tokenizer_model,
        contract=dataclasses.replace(fakes.CONTRACT, crop=schema.UNKNOWN),
        answers=(),
        clip_labels=(),
        trained_on={
            "datasets": [
                {
                    "name": "tiny",
                    "path": "runs/data/tiny",
                    "digest": "1" * 64,
                    "split": "train",
                    "video_names_digest": "2" * 64,
                }
            ],
            "video_names": ["train_0", "train_1"],
        },
        step=20,
        digest="3" * 64,
        weights=RAW,
        name="tiny",
        captioning_inputs=None,
    )
