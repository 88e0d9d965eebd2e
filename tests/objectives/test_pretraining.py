"""The objectives of a block as the network's parts give them, put together pair by pair."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fakes
from videobert_jax import schema
from videobert_jax.models import heads
from videobert_jax.models.config import MASKED_VIDEO_HEADS, ModelConfig, VisualWordsConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import pretraining
from videobert_jax.objectives.config import ObjectivesConfig

ROWS = 6


@pytest.fixture(scope="module")
def network(tiny_model_config) -> ModelConfig:
    """Without dropout, and without layers of the towers: what is put together is the same."""
    return dataclasses.replace(
        tiny_model_config,
        dropout_rate=0.0,
        visual_words=VisualWordsConfig(branching=3, depth=2),
        text=dataclasses.replace(tiny_model_config.text, num_layers=0),
        video=dataclasses.replace(tiny_model_config.video, num_layers=0),
    )


@pytest.fixture(scope="module")
def block() -> schema.Batch:
    """Rows of one example, no two of them alike; of one the video is missing."""
    shape = schema.RowShape(1, 8, 6, 2, 3, fakes.FEATURE_DIM)
    made = fakes.block(ROWS, shape)
    made.video_ids[:] = made.caption_hashes[:] = np.arange(1, ROWS + 1)[:, None]
    made.video_slots[:, 1] = 1
    made.video_slot_weights[::2, 1] = 1
    made.video_masked[::2, 1] = True
    made.pair_weights[2] = 0
    return made


class Case:
    """A network with parameters of some size, and what its parts give of a block."""

    def __init__(self, config: ModelConfig, block: schema.Batch):
        self.model, self.block = VideoBert(config), fakes.on_device(block)
        structs = nn.unbox(jax.eval_shape(self.model.init, jax.random.key(0), self.block))
        generator = np.random.default_rng(0)
        draw = lambda leaf: jnp.asarray(generator.normal(0, 0.3, leaf.shape), jnp.float32)  # noqa: E731
        self.variables = jax.tree.map(draw, structs)
        self.variables["params"]["joint_head"]["log_scale"] = jnp.log(1e4)

    def part(self, method: str, *inputs: Any) -> Any:
        return self.model.apply(self.variables, *inputs, method=method)

    def text(self) -> jax.Array:
        block = self.block
        return self.part(
            "encode_text", block.text_ids, block.text_segment_ids, block.text_positions
        )

    def video(self) -> jax.Array:
        block = self.block
        inputs = (block.video_features, block.video_segment_ids, block.video_positions)
        return self.part("encode_video", *inputs, block.video_masked)

    def matching_logits(self, text: jax.Array, video: jax.Array, segments: jax.Array) -> jax.Array:
        """Logits of texts with the videos of their rows."""
        fused = self.part("fuse", text, self.block.text_segment_ids, video, segments)
        pooled = self.part("pool", fused[0], self.block.text_segment_ids, fused[1], segments, 1)
        return np.asarray(self.part("matching_logits", pooled))[:, 0]

    def totals(self, config: ObjectivesConfig) -> dict[str, jax.Array]:
        key = jax.random.key(7)

        def found(variables: Any, block: schema.Batch) -> dict[str, jax.Array]:
            encoded = pretraining.encode(self.model, variables, block, key)
            return pretraining.local_totals(self.model, variables, block, encoded, key, config)

        return jax.jit(found)(self.variables, self.block)

    def weights(self, config: ObjectivesConfig) -> dict[str, jax.Array]:
        return pretraining.block_weights(self.block, jax.random.key(7), config)


def only(objectives: ObjectivesConfig, *names: str) -> ObjectivesConfig:
    """`objectives` with those of these names alone."""
    off = {
        name: dataclasses.replace(getattr(objectives, name), weight=0.0)
        for name in objectives.weights()
        if name not in names
    }
    return dataclasses.replace(objectives, **off)


@pytest.mark.parametrize("head", MASKED_VIDEO_HEADS)
def test_hidden_clips_are_told_by_the_head(network, block, tiny_run, head):
    case = Case(dataclasses.replace(network, masked_video_head=head), block)
    config = only(tiny_run.objectives, "masked_video")
    segments = case.block.text_segment_ids, case.block.video_segment_ids
    fused = case.part("fuse", case.text(), segments[0], case.video(), segments[1])[1]
    predictions = np.asarray(case.part("video_predictions", fused), np.float64)
    targets = np.asarray(case.part("video_targets", case.block.video_features))
    if head == "nce":  # cosines are compared
        for values in (predictions, targets):
            np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1.0, atol=1e-5)
    temperature, expected = config.masked_video.temperature, 0.0
    for row, slot in zip(*np.nonzero(block.video_slot_weights), strict=True):
        place = block.video_slots[row, slot]
        told, target = predictions[row, place], targets[row, place]
        if head == "regression":
            expected += np.square(told - target).mean()
            continue
        if head == "visual_words":
            scores, own = told / temperature, told[target] / temperature
        else:  # no other clip of its own video, and no padding
            real = block.video_segment_ids > 0
            real[row] = False
            own = told @ target / temperature
            scores = np.append(targets[real] @ told / temperature, own)
        expected += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - own
    found = case.totals(config)
    assert set(found) == {"masked_video"}
    assert float(found["masked_video"]) == pytest.approx(expected, rel=1e-4)
    assert float(case.weights(config)["masked_video"]) == block.video_slot_weights.sum()


def test_hard_negatives_are_the_nearest_in_the_joint_space(network, block, tiny_run, monkeypatch):
    monkeypatch.setattr(heads, "MAXIMUM_SCALE", 1e4)  # the nearest is drawn as good as certainly
    case = Case(network, block)
    config = only(tiny_run.objectives, "matching")
    assert config.matching.negatives == "hard"
    text, video, segments = case.text(), case.video(), case.block.video_segment_ids
    texts = np.asarray(case.part("text_embeddings", text, case.block.text_segment_ids, 1))[:, 0]
    videos = np.asarray(case.part("video_embeddings", video, segments, 1))[:, 0]
    cosines = np.where(np.eye(ROWS, dtype=bool), -2.0, texts @ videos.T)
    judged = block.pair_weights[:, 0] > 0
    cosines[:, ~judged] = -2.0
    first, second = np.sort(cosines[judged], axis=1)[:, :-3:-1].T
    assert (first - second > 0.01).all()
    nearest = cosines.argmax(1)
    assert (nearest[judged] != texts.dot(videos.T)[:, judged].argmin(1)[judged]).any()
    matched = case.matching_logits(text, video, segments)
    mismatched = case.matching_logits(text, video[nearest], segments[nearest])
    expected = np.log1p(np.exp(-matched[judged])).sum() + np.log1p(np.exp(mismatched[judged])).sum()
    assert float(case.totals(config)["matching"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(case.weights(config)["matching"]) == 2 * judged.sum()
