"""What the runner gives equals the network applied by hand, one example at a time, to one row."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks import conftest
from videobert_jax.models import videobert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.encoding import MaskedText, ModelRunner
from videobert_jax.tasks.errors import EvaluationError


def apply(bundle, method):
    variables = jax.tree.map(jnp.asarray, bundle.variables)
    model = videobert.VideoBert(bundle.config)
    return jax.jit(lambda: model.apply(variables, method=method))()


def towers_by_hand(bundle, tokenizer, text, clips):
    """(encoded text, encoded video) of one example without any padding."""
    ids = np.array([[tokenizer.cls_id, *tokenizer.encode([text])[0], tokenizer.sep_id]], np.int32)
    places = [np.arange(length, dtype=np.int32)[None] for length in (ids.shape[1], len(clips))]

    def towers(model):
        text_ones, video_ones = (jnp.ones(place.shape, jnp.int32) for place in places)
        hidden = jnp.zeros(places[1].shape, bool)
        return (
            model.encode_text(jnp.asarray(ids), text_ones, jnp.asarray(places[0])),
            model.encode_video(
                jnp.asarray(clips[None]), video_ones, jnp.asarray(places[1]), hidden
            ),
        )

    return apply(bundle, method=towers)


@pytest.fixture(scope="module")
def clips_of_first(context) -> np.ndarray:
    block = context.runner.builder(context.split).build(0).batch
    return block.video_features[0, : int(context.split.clip_count[0])]


def test_encodings_are_those_of_the_example_alone(context, bundle, clips_of_first):
    encodings = context.encodings
    assert encodings.example_ids.tolist() == list(range(30))
    text, video = towers_by_hand(
        bundle, context.runner.tokenizer, context.split.texts([0])[0], clips_of_first
    )
    np.testing.assert_allclose(encodings.text[0, : text.shape[1]], text[0], atol=3e-4)
    np.testing.assert_allclose(encodings.video[0, : video.shape[1]], video[0], atol=3e-4)
    assert (encodings.text_segment_ids[0] > 0).sum() == text.shape[1]
    norms = np.linalg.norm(encodings.text_embeddings, axis=1)
    np.testing.assert_allclose(norms, 1.0, atol=1e-5)


def test_nothing_is_hidden_in_evaluation_whatever_was_in_training(bundle, dataset):
    masking = dataclasses.replace(
        bundle.data.masking, text_rate=0.5, whole_text_examples=0.9, video_rate=0.5
    )
    data = dataclasses.replace(bundle.data, masking=masking)
    runner = ModelRunner(dataclasses.replace(bundle, data=data))
    batch = runner.builder(dataset.split("test")).build(0).batch
    assert not (batch.text_ids == runner.tokenizer.mask_id).any()
    assert not batch.video_masked.any() and batch.text_ids.any()


def test_candidates_score_the_mean_log_probability_of_their_pieces(context, bundle, clips_of_first):
    tokenizer = context.runner.tokenizer
    candidates = tokenizer.encode(["stir", "spring onion", "soup"])
    counts = [len(pieces) for pieces in candidates]
    assert len(set(counts)) > 1, "the test needs candidates of different lengths"
    before, after = tokenizer.encode(["now", "the soup"])
    masks = [tokenizer.mask_id] * counts[1]
    ids = (tokenizer.cls_id, *before, *masks, *after, tokenizer.sep_id)
    slots = tuple(range(1 + len(before), 1 + len(before) + counts[1]))
    scores = context.runner.candidate_scores(
        context.encodings,
        [MaskedText(ids, slots, 0)] * 3,
        candidates,
        text_length=32,
        table_shape=(5, 15),
        with_video=True,
    )
    text = jnp.array([ids], jnp.int32)
    ones, places = jnp.ones_like(text), jnp.arange(len(ids), dtype=jnp.int32)[None]
    video = jnp.asarray(
        context.encodings.video[:1, : len(clips_of_first)]
    )  # another test looks at these

    def log_probabilities(model):
        encoded = model.encode_text(text, ones, places)
        fused, _ = model.fuse(encoded, ones, video, jnp.ones(video.shape[:2], jnp.int32))
        return jax.nn.log_softmax(model.piece_logits(fused[:, jnp.array(slots)]), axis=-1)

    log = np.asarray(apply(bundle, method=log_probabilities))[0]
    expected = np.mean([log[place, piece] for place, piece in enumerate(candidates[1])])
    np.testing.assert_allclose(scores[:, 1], expected, atol=1e-3)


def test_without_the_video_it_changes_nothing_and_with_it_it_does(context):
    tokenizer = context.runner.tokenizer
    ids = (tokenizer.cls_id, *tokenizer.encode(["now"])[0], tokenizer.mask_id, tokenizer.sep_id)
    texts = [MaskedText(ids, (len(ids) - 2,), row) for row in (0, 5)]
    spread = {}
    for with_video in (False, True):
        scores = context.runner.candidate_scores(
            context.encodings,
            texts,
            [[7], [tokenizer.size - 1]],
            text_length=32,
            table_shape=(5, 15),
            with_video=with_video,
        )
        spread[with_video] = np.abs(scores[0] - scores[1]).max()
    assert spread[False] == 0.0 and spread[True] > 1e-3


def test_candidates_are_tried_where_states_are_made_again(context, made_again):
    tokenizer = context.runner.tokenizer
    ids = (tokenizer.cls_id, *tokenizer.encode(["now"])[0], tokenizer.mask_id, tokenizer.sep_id)
    rows = np.random.default_rng(0).permutation(30).tolist()
    texts = [MaskedText(ids, (len(ids) - 2,), row) for row in rows]
    settings = {"text_length": 32, "table_shape": (5, 15), "with_video": True}
    tried = [[7], [tokenizer.size - 1]]
    kept = context.runner.candidate_scores(context.encodings, texts, tried, **settings)
    other, counts = made_again
    found = other.runner.candidate_scores(other.encodings, texts, tried, **settings)
    np.testing.assert_allclose(found, kept, atol=1e-5)
    assert counts == [10, 10, 10] and np.ptp(kept[:, 0]) > 1e-3


def test_matching_scores_do_not_depend_on_how_pairs_are_batched(context):
    random = np.random.default_rng(0)
    texts, videos = random.integers(0, 30, size=(2, 600))
    every = context.runner.matching_scores(context.encodings, texts, videos)
    few = context.runner.matching_scores(context.encodings, texts[290:300], videos[290:300])
    np.testing.assert_allclose(every[290:300], few, atol=1e-5)
    assert np.ptp(every) > 1e-3


def test_one_device_gives_what_eight_give(bundle, context):
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    on_one = ModelRunner(bundle, mesh=mesh)
    assert (on_one.blocks_per_batch, context.runner.blocks_per_batch) == (1, 8)
    one = on_one.encode(context.split)
    np.testing.assert_allclose(one.text_embeddings, context.encodings.text_embeddings, atol=1e-5)
    np.testing.assert_allclose(one.video, context.encodings.video, atol=3e-4)


def test_the_first_examples_alone_are_the_same(bundle, dataset, context):
    few = EvaluationContext(bundle, dataset, context.split, 0, limit=7)
    assert few.encodings.example_ids.tolist() == list(range(7))
    np.testing.assert_allclose(
        few.encodings.video_embeddings, context.encodings.video_embeddings[:7], atol=1e-5
    )
    np.testing.assert_array_equal(few.features, context.features[:7])


def test_mean_features_are_those_of_the_clips(context, clips_of_first):
    expected = clips_of_first.astype(np.float32).mean(axis=0)
    np.testing.assert_allclose(context.features[0], expected, rtol=1e-5, atol=1e-6)


def test_damaged_clips_stop_the_evaluation(bundle, tmp_path):
    damaged = conftest.write_dataset(tmp_path / "damaged", damaged=True)
    context = EvaluationContext(bundle, damaged, damaged.split("test"), 0)
    with pytest.raises(EvaluationError, match="1 of the 30 examples .* damaged clip features"):
        context.expect(context.ids, "clips")
