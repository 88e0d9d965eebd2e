"""The objectives of a block as the network's parts give them, put together pair by pair."""

import dataclasses
import functools
from collections.abc import Iterator
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
from videobert_jax.objectives import passes, pretraining
from videobert_jax.objectives.config import ObjectivesConfig

ROWS = 6


class Case:
    """A network with parameters of some size, and what its parts give of a block."""

    def __init__(self, config: ModelConfig, made: schema.Batch, objectives: ObjectivesConfig):
        self.model, self.made, self.objectives = VideoBert(config), made, objectives
        self.block = block = fakes.on_device(made)
        structs = nn.unbox(jax.eval_shape(self.model.init, jax.random.key(0), block))
        generator = np.random.default_rng(0)
        self.variables = jax.tree.map(
            lambda leaf: jnp.asarray(generator.normal(0, 0.3, leaf.shape), jnp.float32), structs
        )
        self.params["joint_head"]["log_scale"] = jnp.log(1e4)
        inputs = (block.text_ids, block.text_segment_ids, block.text_positions)
        self.text = self.part("encode_text", *inputs)
        inputs = (block.video_features, block.video_segment_ids, block.video_positions)
        self.video = self.part("encode_video", *inputs, block.video_masked)

    @property
    def params(self) -> dict[str, Any]:
        return self.variables["params"]

    def part(self, method: str, *inputs: Any) -> Any:
        return self.model.apply(self.variables, *inputs, method=method)

    def fused(self, video: jax.Array, segments: jax.Array) -> Any:
        return self.part("fuse", self.text, self.block.text_segment_ids, video, segments)

    def matching_logits(self, video: jax.Array, segments: jax.Array) -> np.ndarray:
        """Logits of the texts with the videos of their rows, one example a row."""
        text, video = self.fused(video, segments)
        pooled = self.part("pool", text, self.block.text_segment_ids, video, segments, 1)
        return np.asarray(self.part("matching_logits", pooled))[:, 0]

    @functools.cached_property
    def totals(self) -> dict[str, jax.Array]:
        key = jax.random.key(7)

        def found(variables: Any, block: schema.Batch) -> dict[str, jax.Array]:
            encoded = passes.encode(self.model, variables, block, key)
            return pretraining.local_totals(
                self.model, variables, block, encoded, key, self.objectives
            )

        return jax.jit(found)(self.variables, self.block)

    @functools.cached_property
    def weights(self) -> dict[str, jax.Array]:
        return pretraining.block_weights(self.block, jax.random.key(7), self.objectives)


def only(objectives: ObjectivesConfig, *names: str) -> ObjectivesConfig:
    """`objectives` with those of these names alone."""
    off = {
        name: dataclasses.replace(getattr(objectives, name), weight=0.0)
        for name in objectives.weights()
        if name not in names
    }
    return dataclasses.replace(objectives, **off)


def single() -> schema.Batch:
    """Rows of one example, no two of them alike; of one the video is missing."""
    made = fakes.block(ROWS, schema.RowShape(1, 8, 6, 2, 3, fakes.FEATURE_DIM, 0, 0, 0, 0))
    made.video_ids[:] = made.caption_hashes[:] = np.arange(1, ROWS + 1)[:, None]
    made.video_slots[:, :2] = 1, 0  # every row's second clip, every other row's first
    made.video_slot_weights[::2, 1] = 1
    made.video_masked[:, :2] = np.stack([np.arange(ROWS) % 2 == 0, np.ones(ROWS)], axis=1)
    made.pair_weights[2] = 0
    return made


def packed() -> schema.Batch:
    """Rows of two examples, many alike."""
    made = fakes.block(ROWS)
    made.pair_weights[1, 0] = 0
    return made


@pytest.fixture(scope="module")
def cases(tiny_model_config, tiny_run) -> Iterator[dict[str, Case]]:
    """A case a head of clips. Without dropout, and without layers of the towers: what is put
    together is the same. At so large a scale the nearest partner is drawn as good as certainly."""
    config = dataclasses.replace(
        tiny_model_config,
        dropout_rate=0.0,
        visual_words=VisualWordsConfig(branching=3, depth=2),
        text=dataclasses.replace(tiny_model_config.text, num_layers=0),
        video=dataclasses.replace(tiny_model_config.video, num_layers=0),
    )
    clips, both = (("masked_video",), ("masked_video", "matching"))
    cascade = dataclasses.replace(tiny_run.objectives.cascade, weight=1.0, negatives=2)
    objectives = dataclasses.replace(tiny_run.objectives, cascade=cascade)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "MAXIMUM_SCALE", 1e4)
        made = {
            head: Case(
                dataclasses.replace(config, masked_video_head=head),
                block,
                only(objectives, *names),
            )
            for head, block, names in (
                ("nce", single(), (*both, "cascade")),
                ("visual_words", single(), clips),
                ("regression", packed(), both),
            )
        }
        score = made["regression"].params["matching_head"]["score"]
        score |= jax.tree.map(jnp.zeros_like, score)  # every pair costs log 2
        yield made


def hidden_clip_loss(case: Case, head: str) -> float:
    """Sum of the losses at the slots, one by one."""
    made, temperature = case.made, case.objectives.masked_video.temperature
    fused = case.fused(case.video, case.block.video_segment_ids)[1]
    predictions = np.asarray(case.part("video_predictions", fused), np.float64)
    targets = np.asarray(case.part("video_targets", case.block.video_features))
    if head == "nce":  # cosines are compared
        for values in (predictions, targets):
            np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1.0, atol=1e-5)
    total = 0.0
    for row, slot in zip(*np.nonzero(made.video_slot_weights), strict=True):
        place = made.video_slots[row, slot]
        told, target = predictions[row, place], targets[row, place]
        if head == "regression":
            total += np.square(told - target).mean()
            continue
        if head == "visual_words":
            scores, own = told / temperature, told[target] / temperature
        else:  # no other clip of its own video, and no padding
            real = made.video_segment_ids > 0
            real[row] = False
            own = told @ target / temperature
            scores = np.append(targets[real] @ told / temperature, own)
        total += np.log(np.exp(scores - scores.max()).sum()) + scores.max() - own
    return float(total)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(of, marks=[pytest.mark.long] * (of == "regression"))
        for of in MASKED_VIDEO_HEADS
    ],
)
def test_hidden_clips_are_told_by_the_head(cases, head):
    case = cases[head]
    found = float(case.totals["masked_video"])
    assert found == pytest.approx(hidden_clip_loss(case, head), rel=1e-4)
    assert float(case.weights["masked_video"]) == case.made.video_slot_weights.sum()
    assert set(case.totals) == set(case.weights)


def judged_cosines(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """(cosine of every text with every video, -2 where they are no negatives; texts judged)."""
    segments = case.block.video_segment_ids
    texts = case.part("text_embeddings", case.text, case.block.text_segment_ids, 1)
    videos = case.part("video_embeddings", case.video, segments, 1)
    cosines = np.array(texts[:, 0] @ videos[:, 0].T)
    judged = case.made.pair_weights[:, 0] > 0
    cosines[np.eye(ROWS, dtype=bool) | ~judged[None]] = -2.0  # never a partner
    return cosines, judged


def test_hard_negatives_are_the_nearest_in_the_joint_space(cases):
    case = cases["nce"]
    assert case.objectives.matching.negatives == "hard"
    segments = case.block.video_segment_ids
    cosines, judged = judged_cosines(case)
    first, second = np.sort(cosines[judged], axis=1)[:, :-3:-1].T
    assert (first - second > 2e-3).all()  # at that scale the next is drawn with e^-20
    nearest = cosines.argmax(1)
    matched = case.matching_logits(case.video, segments)
    mismatched = case.matching_logits(case.video[nearest], segments[nearest])
    expected = np.log1p(np.exp(-matched[judged])).sum() + np.log1p(np.exp(mismatched[judged])).sum()
    assert float(case.totals["matching"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(case.weights["matching"]) == 2 * judged.sum()


def test_a_cascade_chooses_among_the_nearest_in_the_joint_space(cases):
    case = cases["nce"]
    segments = case.block.video_segment_ids
    cosines, judged = judged_cosines(case)
    met = np.argsort(-cosines, axis=1)[:, :2].T
    choices = np.stack(
        [
            case.matching_logits(case.video, segments),
            *(case.matching_logits(case.video[rows], segments[rows]) for rows in met),
        ]
    )
    losses = np.log(np.exp(choices).sum(0)) - choices[0]
    assert float(case.totals["cascade"]) == pytest.approx(float(losses[judged].sum()), rel=1e-4)
    assert float(case.weights["cascade"]) == judged.sum()


def test_the_weight_of_hard_negatives_is_known_before_they_are_drawn(cases):
    case = cases["regression"]
    expected = np.log(2) * case.weights["matching"]
    assert float(case.totals["matching"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) > np.log(2) * (case.made.pair_weights.sum() + ROWS)
