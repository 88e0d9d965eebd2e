"""The bag-of-words objective and its head, beside loops in NumPy and a least-squares solution."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import tiny
from tests import fakes
from videobert_jax import configuration
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import bag_of_words, passes, pretraining
from videobert_jax.tasks import programs

VOCABULARY = fakes.VOCABULARY


@pytest.fixture
def block():
    made = fakes.block(5)
    made.text_ids[0, :3] = 2, 150, 3  # [CLS], a piece, [SEP]
    made.video_segment_ids[1][made.video_segment_ids[1] == 1] = 0  # an example without clips
    made.video_masked[2][made.video_segment_ids[2] == 2] = True  # one whose clips are all hidden
    made.text_segment_ids[3][made.text_segment_ids[3] == 1] = 0  # one without a caption
    made.text_slot_weights[3, 0] = 0
    made.text_slots[4, 3], made.text_targets[4, 3] = 0, 299  # an unused slot points at place 0
    return made


def expected_targets(block) -> np.ndarray:
    """One place at a time: the piece it had before masking, unless it is a special one."""
    found = np.zeros((*block.example_ids.shape, VOCABULARY))
    for row, place in zip(*np.nonzero(block.text_segment_ids), strict=True):
        piece = block.text_ids[row, place]
        for slot in np.flatnonzero(block.text_slot_weights[row]):
            if block.text_slots[row, slot] == place:
                piece = block.text_targets[row, slot]
        if piece >= 5:
            found[row, block.text_segment_ids[row, place] - 1, piece] = 1
    return found


def test_targets_are_the_pieces_before_masking(block):
    block.text_ids[:, 1] = 4  # [MASK], where a slot says what it was
    found = bag_of_words.targets(fakes.on_device(block), VOCABULARY)
    np.testing.assert_array_equal(found, expected_targets(block))
    assert found[0, 0, block.text_targets[0, 0]] == 1


def test_the_loss_is_the_squared_error_over_all_pieces_of_whole_examples(block):
    presence = np.random.default_rng(0).random((5, 2, VOCABULARY)).astype(np.float32)
    left_out = {(1, 0), (2, 1), (3, 0)}
    expected, targets = 0.0, expected_targets(block)
    for example in np.ndindex(5, 2):
        if example not in left_out:
            expected += np.square(presence[example] - targets[example]).sum()
    on_device = fakes.on_device(block)
    found = bag_of_words.total(jnp.asarray(presence), on_device)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(bag_of_words.weight(on_device)) == 10 - len(left_out)


@pytest.mark.long
def test_the_head_learns_the_least_squares_solution(block):
    config = configuration.resolve_model(
        configuration.parse(tiny.get_config()),
        vocabulary_size=VOCABULARY,
        feature_dim=fakes.FEATURE_DIM,
    )
    model, on_device = VideoBert(config), fakes.on_device(block)
    variables = jax.jit(model.init)(jax.random.key(0), on_device)
    head = variables["params"]["bag_of_words_head"]
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(head))  # it starts from 0
    encoded = jnp.asarray(
        np.random.default_rng(1).normal(size=(5, 8, config.embed_dim)).astype(np.float32)
    )

    def loss(head):
        params = {**variables["params"], "bag_of_words_head": head}
        presence: Any = model.apply(
            {**variables, "params": params},
            encoded,
            on_device.video_features,
            on_device.video_segment_ids,
            on_device.video_masked,
            2,
            method="piece_presence",
        )
        return bag_of_words.total(presence, on_device)

    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 1500))

    @jax.jit
    def fitted(head):
        def step(_, state):
            head, opt_state = state
            updates, opt_state = optimizer.update(jax.grad(loss)(head), opt_state)
            return optax.apply_updates(head, updates), opt_state

        return jax.lax.fori_loop(0, 1500, step, (head, optimizer.init(head)))[0]

    # examples that count, their means over clips with a 1 behind, and what their captions have
    rows, targets = [], expected_targets(block)
    for row, example in np.ndindex(5, 2):
        if (row, example) not in {(1, 0), (2, 1), (3, 0)}:
            mean = np.asarray(encoded)[row][block.video_segment_ids[row] == example + 1].mean(0)
            rows.append((np.append(mean, 1.0), targets[row, example]))
    inputs, outputs = np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows])
    best = np.square(inputs @ np.linalg.lstsq(inputs, outputs, rcond=None)[0] - outputs).sum()
    assert float(loss(head)) == pytest.approx(outputs.sum())
    assert float(loss(fitted(head))) == pytest.approx(best, abs=0.05)


@pytest.fixture(scope="module")
def reading_features():
    """(a network whose head reads features, without the half that dropout takes, its variables)"""
    run = tiny.get_config()
    run.model.bag_of_words_reads, run.model.bag_of_words_dropout_rate = "features", 0.5
    config = configuration.resolve_model(
        configuration.parse(run), vocabulary_size=VOCABULARY, feature_dim=fakes.FEATURE_DIM
    )
    assert config.video.input_normalization == "standardize"
    model = VideoBert(config)
    block = fakes.on_device(fakes.block(5))
    return model, nn.unbox(jax.jit(model.init)(jax.random.key(0), block))


def with_random_words(variables, block):
    """(variables with a head and constants drawn at random, NumPy's presence by them)"""
    random = np.random.default_rng(2)
    size = variables["params"]["bag_of_words_head"]["kernel"].shape[-1]
    kernel = random.normal(size=(fakes.FEATURE_DIM, size)).astype(np.float32)
    mean, scale = random.normal(size=(2, fakes.FEATURE_DIM)).astype(np.float32)
    head = {"kernel": jnp.asarray(kernel), "bias": jnp.arange(float(size))}
    embedding = variables["constants"]["video_embedding"]
    embedding = {**embedding, "mean": jnp.asarray(mean), "scale": jnp.asarray(scale)}
    expected = np.zeros((5, 2, size))
    for row, example in np.ndindex(5, 2):
        of = (block.video_segment_ids[row] == example + 1) & ~block.video_masked[row]
        clips = (block.video_features[row][of].astype(np.float64) - mean) / scale
        shown = clips.mean(0) if len(clips) else np.zeros(fakes.FEATURE_DIM)
        expected[row, example] = 4 * shown / np.sqrt(fakes.FEATURE_DIM) @ kernel + np.arange(size)
    return {
        "params": {**variables["params"], "bag_of_words_head": head},
        "constants": {**variables["constants"], "video_embedding": embedding},
    }, expected


def test_a_linear_map_tells_pieces_from_the_clips_of_an_example_that_are_shown(
    block, reading_features
):
    (model, born), on_device = reading_features, fakes.on_device(block)
    variables, expected = with_random_words(born, block)

    @jax.jit
    def told(encoded, rngs):
        clips = (on_device.video_features, on_device.video_segment_ids, on_device.video_masked)
        inputs = (encoded, *clips, 2)
        return model.apply(variables, *inputs, method="piece_presence", rngs=rngs)

    for encoded in (jnp.zeros((5, 8, 32)), jnp.ones((5, 8, 32))):  # the tower says nothing to it
        np.testing.assert_allclose(told(encoded, {}), expected, rtol=1e-4, atol=1e-4)
    dropped = [told(encoded, {"dropout": jax.random.key(i)}) for i in range(200)]
    assert not np.allclose(dropped[0], dropped[1])
    errors = (np.mean(dropped, axis=0) - expected) / (np.std(dropped, axis=0) + 1e-6) * 200**0.5
    assert np.abs(errors[:, :, :VOCABULARY]).mean() < 1.0  # unbiased: about 0.8 of a deviation


def test_training_and_evaluation_read_the_features(block, reading_features):
    (model, born), on_device = reading_features, fakes.on_device(block)
    variables, expected = with_random_words(born, block)
    encode = jax.jit(functools.partial(model.apply, method=programs.encode_block))
    found = encode(variables, on_device)
    np.testing.assert_allclose(found["piece_presence"], expected[:, 0], rtol=1e-4, atol=1e-4)

    @jax.jit
    @jax.grad
    def slopes_of(params, key):
        changed = {**variables, "params": params}
        encoded = passes.encode(model, changed, on_device, key)
        return pretraining._bag_of_words_total(model, changed, on_device, encoded, key)

    slopes = [slopes_of(variables["params"], jax.random.key(i)) for i in range(2)]
    kernels = [np.asarray(of["bag_of_words_head"]["kernel"]) for of in slopes]
    assert all(np.abs(of).max() > 0 for of in kernels) and not np.allclose(*kernels)  # dropout
    others = {name: of for name, of in slopes[0].items() if name != "bag_of_words_head"}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(others))  # it teaches no tower


def test_what_the_head_may_read_is_named():
    run = tiny.get_config()
    run.model.bag_of_words_reads = "words"
    with pytest.raises(configuration.ConfigError, match="reads='words' is none of tower, features"):
        configuration.parse(run)
