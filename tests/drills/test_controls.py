"""The control data sets are what they claim, and luck is told from learning."""

import numpy as np

from tests.drills import controls
from videobert_jax.data import index


def test_shuffled_captions_move_and_clips_stay(tiny_dataset, tmp_path):
    source = index.open_dataset(tiny_dataset)
    copy = controls.shuffle_captions(source, tmp_path / "shuffled", seed=0)
    for name in source.splits:
        before, after = source.split(name), copy.split(name)
        for column in ("video", "start", "end", "first_clip", "clip_count"):
            np.testing.assert_array_equal(getattr(before, column), getattr(after, column))
        texts = [split.texts(range(len(split))) for split in (before, after)]
        assert sorted(texts[0]) == sorted(texts[1])
        moved = np.mean([a != b for a, b in zip(*texts, strict=True)])
        assert moved > 0.9 if name == "train" else moved == 0
    features = [controls.features_of(d.split("train"), 3) for d in (source, copy)]
    np.testing.assert_array_equal(*features)
    assert np.abs(features[0]).max() > 0


def test_zeroed_video_keeps_captions_and_nothing_to_see(tiny_dataset, tmp_path):
    source = index.open_dataset(tiny_dataset)
    copy = controls.zero_video(source, tmp_path / "zeroed")
    train = copy.split("train")
    assert not controls.features_of(train, 3).any()
    assert train.texts([0, 5]) == source.split("train").texts([0, 5])


def test_luck_is_told_from_learning():
    def records(figure: float) -> dict:
        return {
            task: {
                "metrics": dict.fromkeys(names, figure),
                "baselines": {
                    "chance": dict.fromkeys(names, 0.05),
                    "language_prior": dict.fromkeys(names[:1], 0.2),
                },
                "dataset": {"num_evaluated": 400},
            }
            for task, names in controls.NEED_BOTH_SIDES.items()
        }

    # standard deviations: 0.011 of a chance of 0.05, 0.02 of a prior of 0.2
    assert controls.above_chance(records(0.08)) == {}
    learnt = controls.above_chance(records(0.24))
    assert "verb_top1" not in learnt and "object_top1" in learnt
    assert set(controls.above_chance(records(0.3))) >= {"verb_top1", "text_to_video_R5"}
