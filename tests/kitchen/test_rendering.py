"""Drawn videos: the same each time, moving while hands are at work, decodable."""

import dataclasses
import itertools

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow is not installed")

from videobert_jax.kitchen import corpus, counter, filming, palette, rendering, scene
from videobert_jax.video import decode

STILL = palette.Look(
    texture=0.0, noise=0.0, camera_shake=0.0, light=0.0, clutter=False, colour_jitter=0
)


@pytest.fixture(scope="module")
def plan():
    return corpus.plan_videos(2)[1]


def test_frames_are_the_same_each_time(plan):
    first, second = (
        list(itertools.islice(rendering.render_frames(plan), 0, 120, 40)) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first[0].shape == (224, 224, 3) and first[0].dtype == np.uint8


@pytest.mark.parametrize("verb", palette.VERBS)
def test_every_action_moves_and_shows_its_ingredient(verb):
    pictures = {}
    for name in palette.VERB_OBJECTS[verb][:2]:
        generator = np.random.Generator(np.random.PCG64(7))
        step = corpus.Step(
            verb, name, palette.VERB_CONTAINERS[verb][0], palette.VERB_TOOLS[verb][0], 4.0
        )
        style = counter.draw_style(STILL, generator)
        stage = scene.set_up(step, style, STILL, generator)
        pictures[name] = np.stack(
            [filming.film_action(stage, t).astype(np.float32) for t in (0.5, 1.0, 3.5)]
        )
        rest = filming.film_rest(stage, 0.5).astype(np.float32)
        assert np.abs(pictures[name][0] - rest).mean() > 1.5, "no hands or food in the picture"
        assert np.abs(pictures[name][0] - pictures[name][1]).mean() > 1, "nothing moves"
    one, other = pictures.values()
    assert np.abs(one - other).mean() > 0.5, "two ingredients look the same"


def test_light_changes_from_video_to_video_as_much_as_is_asked_for():
    def of_videos(light: float) -> np.ndarray:
        look = dataclasses.replace(STILL, light=light)
        generators = (np.random.Generator(np.random.PCG64(seed)) for seed in range(8))
        return np.stack([counter.draw_style(look, each).light for each in generators])

    even, standard, strong = (of_videos(light) for light in (0.0, 1.0, 2.0))
    np.testing.assert_array_equal(even, 1.0)
    spread = standard.std(axis=0).mean()
    assert 0.03 < spread < 0.2 and strong.std(axis=0).mean() == pytest.approx(2 * spread, rel=0.2)


def test_a_video_file_decodes_to_what_was_drawn(plan, tmp_path):
    pytest.importorskip("av", reason="the video extra is not installed")
    short = corpus.VideoPlan(plan.index, plan.name, plan.split, 2.0, plan.steps[:1])
    movie, captions = rendering.render_video(short, tmp_path)
    decoded = np.stack(list(decode.read_frames(movie, float(rendering.FPS), 224)))
    drawn = np.stack(list(rendering.render_frames(short)))
    assert decoded.shape == drawn.shape == (48, 224, 224, 3)
    assert np.abs(decoded.astype(np.float32) - drawn).mean() < 8
    assert captions.read_text().startswith("WEBVTT\n\n00:00:0")
