"""Scenes: the cheapest of all cuts, and the steps of the embedded corpus' recipes."""

import itertools

import numpy as np
import pytest

from videobert_jax.kitchen import assets
from videobert_jax.video import scenes


def cost(clips: np.ndarray, firsts: tuple[int, ...], price: float) -> float:
    """Of a cut, by its definition."""
    parts = np.split(clips.astype(np.float64), firsts[1:])
    return sum(float(np.square(part - part.mean(0)).sum()) for part in parts) + price * len(parts)


@pytest.mark.parametrize("price", [0.0, 0.3, 2.0, 6.0, 1e6])
def test_the_cut_is_the_cheapest_of_all(price):
    generator = np.random.default_rng(0)
    for count in range(1, 9):
        clips = generator.normal(size=(count, 3)).astype(np.float32) + 5
        cuts = [
            (0, *inner)
            for size in range(count)
            for inner in itertools.combinations(range(1, count), size)
        ]
        best = min(cuts, key=lambda firsts: cost(clips, firsts, price))
        assert tuple(scenes.first_clips(clips, price)) == best


def test_long_videos_are_cut_into_scenes_of_the_longest_at_most(monkeypatch):
    monkeypatch.setattr(scenes, "LONGEST", 7)
    firsts = scenes.first_clips(np.zeros((30, 2), np.float32), 1.0)
    lengths = np.diff([*firsts, 30])
    assert lengths.max() <= 7 and len(lengths) == 5  # no more scenes than it takes


def test_scatter_is_the_mean_squared_distance_to_the_mean():
    clips = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 6.0]], np.float32)
    assert scenes.scatter(clips) == pytest.approx((4 + 4 + 0 + 4 + 4 + 16) / 3)


def test_scenes_of_drawn_recipes_are_their_steps():
    """Of neighbouring clips of the 20 validation videos, whether they are of one step."""
    videos = [video for video in assets.load().videos if video.split == "validation"]
    every = np.concatenate([video.features.astype(np.float32) for video in videos])
    mean, scale = every.mean(0), every.std(0) + 1e-6
    standardised = [(video.features.astype(np.float32) - mean) / scale for video in videos]
    price = 1.2 * np.mean([scenes.scatter(clips) for clips in standardised])
    right, together = [], []
    contract = assets.load().contract
    for video, clips in zip(videos, standardised, strict=True):
        scene = np.searchsorted(scenes.first_clips(clips, price), np.arange(len(clips)), "right")
        middle = np.arange(len(clips)) * contract.stride_seconds + contract.clip_seconds / 2
        step = np.full(len(clips), -1)
        for number, truth in enumerate(video.steps):
            step[(truth.start <= middle) & (middle < truth.end)] = number
        known = (step[1:] >= 0) & (step[:-1] >= 0)
        right.append(((step[1:] == step[:-1]) == (scene[1:] == scene[:-1]))[known])
        together.append((step[1:] == step[:-1])[known])
    assert np.concatenate(right).mean() > 0.95 > 0.8 > np.concatenate(together).mean()
