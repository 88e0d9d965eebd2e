"""The search model: real text tower of random weights, and a network of known outputs for video."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videobert_jax.inference import search
from videobert_jax.inference.model import InputError
from videobert_jax.models import word_tower
from videobert_jax.text import word_list
from videobert_jax.video import decode, extract

SIDE = 16
WORDS = word_list.WordList("pour stir the milk onion into pan".split())


def brightness(_, frames):
    """Mean brightness of the first and of the last frame, and of all."""
    values = jnp.asarray(frames, jnp.float32)
    parts = [values[:, :1].mean((1, 2, 3, 4)), values[:, -1:].mean((1, 2, 3, 4))]
    parts.append(values.mean((1, 2, 3, 4)))
    joint = jnp.pad(jnp.stack(parts, axis=1), ((0, 0), (0, 512 - len(parts))))
    return joint, joint


@pytest.fixture(scope="module")
def text_variables():
    ids = jnp.zeros((1, word_tower.MAXIMUM_WORDS), jnp.int32)
    return word_tower.WordTower().init(jax.random.key(0), ids)


@pytest.fixture(scope="module")
def model(text_variables):
    backbone = extract.Backbone("brightness", "output", 512, SIDE, "0" * 64, {}, brightness)
    return search.SearchModel(backbone, text_variables, WORDS)


def clip(level: int, frames: int = 4, side: int = SIDE) -> np.ndarray:
    return np.full((frames, side, side, 3), level, np.uint8)


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """12 seconds whose brightness grows by 1 a frame."""
    pytest.importorskip("av", reason="PyAV is not installed")
    path = tmp_path_factory.mktemp("videos") / "movie.mp4"
    decode.write_frames(path, [np.full((SIDE, SIDE, 3), 20 + i, np.uint8) for i in range(192)], 16)
    return path


def test_clips_of_any_shape_keep_their_order(model):
    videos = [clip(9), clip(50), clip(7, frames=8), clip(3, side=32), clip(40), clip(41)]
    found = model.encode_video(videos)
    assert found.shape == (6, 512)
    np.testing.assert_allclose(found[:, 2], [9, 50, 7, 3, 40, 41], rtol=1e-6)
    np.testing.assert_array_equal(model.encode_video(np.stack(videos[:2])), found[:2])
    np.testing.assert_array_equal(model.encode_video(clip(50)), found[1:2])


def test_a_files_vector_is_the_mean_of_its_clips(model, movie):
    (found,) = model.encode_video(movie)
    assert found[2] == pytest.approx(20 + 95.5, abs=1.5)
    both = model.encode_video([str(movie), clip(5)])
    np.testing.assert_array_equal(both[0], found)
    assert both[1, 2] == pytest.approx(5)


def test_segments_are_read_at_their_windows(model, movie):
    """First and last frame of a window, 32 frames apart, tell where it was."""
    (late, early) = model.encode_segments(movie, [(5, 10), (1, 2)], windows=3)
    assert early[0] == pytest.approx(20 + 16, abs=1.5)  # shorter than a window: three times one
    assert early[1] == pytest.approx(20 + 16 + 31, abs=1.5)
    middle = (5 + 7.6) / 2  # the last one ends 0.4 s before the segment does
    assert late[0] == pytest.approx(20 + 16 * middle, abs=2)
    (alone,) = model.encode_segments(movie, [(5, 10)], windows=3)
    np.testing.assert_allclose(alone, late, rtol=1e-5)


def test_segments_that_the_file_does_not_have_are_refused(model, movie):
    (end,) = model.encode_segments(movie, [(11.5, 14)], windows=1)
    assert end[1] == pytest.approx(20 + 191, abs=1.5)  # its last frame, repeated
    with pytest.raises(decode.VideoError, match=r"12.0 s of pictures.*\[12.5\]"):
        model.encode_segments(movie, [(1, 3), (12.5, 14)], windows=2)
    with pytest.raises(InputError, match="segment 3 to 3"):
        model.encode_segments(movie, [(3, 3)])


def test_a_sentence_is_its_words(model, text_variables):
    sentences = ["Pour the MILK into the pan", "stir the onion", *["stir"] * 300, "the " * 20]
    found = model.encode_text(sentences)
    assert found.shape == (303, 512) and np.linalg.norm(found[0]) != pytest.approx(1, abs=0.1)
    ids = jnp.array([[2, 3, 5] + [0] * 13])
    expected = word_tower.WordTower().apply(text_variables, ids)
    np.testing.assert_allclose(found[1], expected[0], atol=1e-6)
    np.testing.assert_allclose(model.encode_text("stir, xyz the onion!")[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[302], model.encode_text("the " * 16)[0], atol=1e-6)
    assert not np.allclose(found[302], model.encode_text("the")[0])  # padding is a word


def test_search_gives_the_best_by_dot_product(model):
    videos = np.random.default_rng(0).normal(size=(7, 512)).astype(np.float32)
    sentences = ["pour the milk", "stir the onion"]
    scores = model.encode_text(sentences) @ videos.T
    found = model.search(sentences, videos, count=3)
    np.testing.assert_array_equal(found.videos, np.argsort(-scores, axis=1)[:, :3])
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :3])
    similarity = model.similarity([clip(9), clip(50)], sentences)
    expected = model.encode_video([clip(9), clip(50)]) @ model.encode_text(sentences).T
    np.testing.assert_allclose(similarity, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ([], "empty list"),
        (clip(1).astype(np.float32), "float32"),
        ([clip(1), clip(1)[0]], r"video 1 is uint8 of shape \[16, 16, 3\]"),
        (clip(1, frames=3), "even numbers"),
        (clip(1, frames=0), "even numbers"),
    ],
)
def test_what_is_no_clip_is_refused(model, video, message):
    with pytest.raises(InputError, match=message):
        model.encode_video(video)


def test_a_sentence_of_unknown_words_is_refused(model):
    with pytest.raises(InputError, match="'xyzzy' has no word"):
        model.encode_text(["stir the onion", "xyzzy"])
    with pytest.raises(InputError, match="empty list"):
        model.encode_text([])
