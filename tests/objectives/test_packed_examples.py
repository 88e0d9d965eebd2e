"""An example weighs and teaches the same in a packed row as in a row of its own."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes, packed
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import cascade, contrastive, matching, passes, pretraining
from videobert_jax.objectives.matching import Mismatch


def in_rows_of_one(mismatch: Mismatch) -> Mismatch:
    """The meetings of packed rows, said of rows of one example each."""
    row, example = np.divmod(np.arange(packed.ROWS * packed.EXAMPLES), packed.EXAMPLES)
    met_row = np.asarray(mismatch.rows)[row]
    met_example = (example - np.asarray(mismatch.rotations)[row]) % packed.EXAMPLES
    met = jnp.asarray(met_row * packed.EXAMPLES + met_example)
    return Mismatch(met, jnp.zeros_like(met))


@pytest.fixture
def same_partners(monkeypatch):
    """Every text meets the video of the same example in both layouts.

    Whom a text meets is drawn for a layout, since a whole row of texts meets a row of videos. So
    the draw, and nothing else of matching, is replaced by one that both can make. Hard partners
    differ from these in who is drawn, and in weights that are balanced within a row, so that a
    pair which may not be judged gives its weight to its neighbours: of a layout by intent.
    """
    drawn = Mismatch(jnp.roll(jnp.arange(packed.ROWS), 1), jnp.ones(packed.ROWS, jnp.int32))
    monkeypatch.setattr(
        matching,
        "draw_uniform",
        lambda key, rows, examples: drawn if examples > 1 else in_rows_of_one(drawn),
    )
    other = Mismatch(jnp.roll(jnp.arange(packed.ROWS), 2), 2 * jnp.ones(packed.ROWS, jnp.int32))

    def hardest(text, *_):
        of_layout = [m if text.shape[1] > 1 else in_rows_of_one(m) for m in (drawn, other)]
        return jax.tree.map(lambda *values: jnp.stack(values), *of_layout)

    monkeypatch.setattr(cascade, "hardest", hardest)


# Unlike factors, so that no two objectives' gradients can make up for each other.
FACTORS = {
    "masked_language": 1.0,
    "masked_video": 0.7,
    "matching": 1.9,
    "contrastive": -1.3,
    "bag_of_words": 0.4,
    "token_contrastive": 0.8,
    "cascade": -0.6,
    "captioning": 1.2,
    "answering": -0.9,
    "segmentation": 1.5,
}


def means_and_gradients(model, variables, block, config):
    """(mean of every objective, gradients of their sum by FACTORS) of one block."""
    key = jax.random.key(0)  # of dropout and partners: neither is drawn here

    def combined(params):
        given = {**variables, "params": params}
        weights = pretraining.block_weights(block, key, config)
        encoded = passes.encode(model, given, block, key)
        totals = pretraining.local_totals(model, given, block, encoded, key, config)
        totals["contrastive"] = contrastive.total(
            encoded.text_embeddings[None],
            encoded.video_embeddings[None],
            model.apply(given, method="contrastive_scale"),
            jax.tree.map(lambda values: values[None], block),
            config.contrastive,
            config.twin_clip_distance,
        )
        means = {name: total / weights[name] for name, total in totals.items()}
        return sum(FACTORS[name] * mean for name, mean in means.items()), means

    (_, means), gradients = jax.jit(jax.value_and_grad(combined, has_aux=True))(variables["params"])
    return jax.device_get(means), jax.device_get(gradients)


@pytest.mark.long
def test_losses_and_gradients_are_those_of_rows_of_one_example(
    tiny_run, tiny_model_config, same_partners
):
    """Of all objectives, with what else draws for a layout (dropout, mixing of rows) switched off.

    Words and regression, the other forms of masked video, see clips gathered at slots alone, as
    masked language does; the contrast among clips, which is here, sees the whole block.
    """
    model = VideoBert(
        dataclasses.replace(
            tiny_model_config,
            dropout_rate=0.0,
            token_head=True,
            answers=packed.ANSWERS,
            clip_labels=packed.LABELS,
            text=dataclasses.replace(tiny_model_config.text, num_layers=1),
            video=dataclasses.replace(tiny_model_config.video, num_layers=1),
        )
    )
    objectives = tiny_run.objectives
    config = dataclasses.replace(
        objectives,
        matching=dataclasses.replace(objectives.matching, negatives="uniform"),
        contrastive=dataclasses.replace(objectives.contrastive, chunks=1),
        token_contrastive=dataclasses.replace(objectives.token_contrastive, weight=1.0),
        cascade=dataclasses.replace(objectives.cascade, weight=1.0, negatives=2),
        answering=dataclasses.replace(objectives.answering, weight=1.0),
        segmentation=dataclasses.replace(objectives.segmentation, weight=1.0),
    )
    given = packed.block()
    together, apart = (fakes.on_device(b) for b in (given, packed.unpacked(given)))
    variables = nn.unbox(jax.jit(model.init)(jax.random.key(1), together))
    found, gradients = means_and_gradients(model, variables, together, config)
    expected, theirs = means_and_gradients(model, variables, apart, config)
    assert set(found) == set(FACTORS) == set(config.weights())
    for name, value in expected.items():
        assert value > 0 and found[name] == pytest.approx(value, rel=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    assert largest > 0.1
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5 * max(1, largest)),
        gradients,
        theirs,
    )
