"""Steps of a video against brute force over all seconds."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests import bundles, fakes
from videobert_jax.inference.inputs import InputError
from videobert_jax.inference.model import PretrainedModel

STEPS = ["cut the onion", "pour the milk", "stir the egg with salt"]
STRIDE = 1.5


@pytest.fixture(scope="module")
def model(tiny_run) -> PretrainedModel:
    """Clips of 2 s, one every 1.5 s."""
    made = bundles.tiny(tiny_run)
    contract = dataclasses.replace(
        made.contract, fps=8.0, frames_per_clip=16, stride_seconds=STRIDE
    )
    return PretrainedModel(dataclasses.replace(made, contract=contract))


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(11, fakes.FEATURE_DIM)).astype(np.float32)


def cosines_of_seconds(model, video) -> np.ndarray:
    """Of 11 clips, which cover 17 s: each second by the clip whose centre is nearest to its own."""
    texts = model.encode_text(STEPS)
    rows = []
    for second in range(17):
        distances = [abs(clip * STRIDE + 1.0 - (second + 0.5)) for clip in range(11)]
        nearest = [clip for clip in range(11) if distances[clip] == min(distances)]
        clip = min(nearest, key=lambda clip: clip % 2)  # halves go to the even one
        rows.append(model.encode_video(video[clip : clip + 1])[0] @ texts.T)
    return np.array(rows)


def test_steps_are_put_in_order_where_they_score_most_together(model, video):
    cosines = cosines_of_seconds(model, video)
    best = max(
        itertools.combinations(range(17), 3),
        key=lambda chosen: sum(cosines[second, step] for step, second in enumerate(chosen)),
    )
    short, found = model.localize([video[:4], video], STEPS)
    np.testing.assert_allclose(found.cosines, cosines, atol=1e-5)
    assert tuple(found.seconds.tolist()) == best
    np.testing.assert_allclose(found.scores, [cosines[t, k] for k, t in enumerate(best)], atol=1e-5)
    assert short.cosines.shape == (7, 3)  # 3 * 1.5 + 2 s


def test_without_an_order_each_step_has_its_best_second(model, video):
    cosines = cosines_of_seconds(model, video)
    (found,) = model.localize(video, STEPS, ordered=False)
    assert found.seconds.tolist() == [max(range(17), key=lambda t: cosines[t, k]) for k in range(3)]
    assert found.seconds.tolist() != sorted(set(found.seconds.tolist()))  # the order would matter


def test_steps_that_cannot_be_put_are_refused(model, video):
    with pytest.raises(InputError, match="3 steps cannot be put in order into the 2 seconds"):
        model.localize(video[:1], STEPS)
    assert len(model.localize(video[:1], STEPS, ordered=False)[0].seconds) == 3
    with pytest.raises(InputError, match="expected a list"):
        model.localize(video, "cut the onion")
