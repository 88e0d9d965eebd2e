"""Embeddings of whole videos are the means of what the runner gives of their examples."""

import numpy as np

from tests.tasks import conftest
from videobert_jax.tasks import video_embeddings
from videobert_jax.tasks.encoding import ModelRunner


def test_a_video_is_the_mean_of_its_examples(bundle, tmp_path):
    dataset = conftest.write_dataset(tmp_path / "damaged", damaged=True)
    split, runner = dataset.split("test"), ModelRunner(bundle)
    found = video_embeddings.of_videos(runner, split)
    encodings = runner.encode(split)
    assert encodings.damaged.sum() == 1  # its video counts by the others
    for video in range(6):
        mean = encodings.video_embeddings[split.video == video].sum(0)
        np.testing.assert_allclose(found[video], mean / np.linalg.norm(mean), atol=1e-5)
    assert found.dtype == np.float32 and np.ptp(found, axis=0).max() > 0.1


def test_videos_without_clips_are_0(bundle, tmp_path):
    split = conftest.write_dataset(tmp_path / "absent", absent=True).split("test")
    found = video_embeddings.of_videos(ModelRunner(bundle), split)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1, 1], atol=1e-5)
