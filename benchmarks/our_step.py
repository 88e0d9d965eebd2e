"""Our side of the benchmarks of training: the step of the training loop, on given batches."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import alternate, lxmert
from videobert_jax import schema
from videobert_jax.models import heads
from videobert_jax.models.config import (
    BertConfig,
    CrossConfig,
    DecoderConfig,
    ModelConfig,
    TextConfig,
    VideoConfig,
    VisualWordsConfig,
)
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import config as objectives
from videobert_jax.objectives import masked_language, passes, pretraining
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import hardware, optimizer, state, steps
from videobert_jax.training.config import OptimizerConfig

_NUM_STEPS = 1_000_000  # of the schedule: the learning rate stays what it is
_FUSE = 7  # stream of the block's key


class TrainingStep:
    """The step of the training loop. Its state is made, and it is compiled for the shapes of its
    batches, when it first takes them.

    local_totals: stands in the place of `pretraining.local_totals`. flops: of a step with the
    first batch; num_examples: of that batch.
    """

    def __init__(
        self,
        model: VideoBert,
        batches: Sequence[schema.Batch],
        optimization: OptimizerConfig,
        weights: objectives.ObjectivesConfig,
        mesh: jax.sharding.Mesh,
        accumulation_steps: int = 1,
        local_totals: Callable[..., Any] = pretraining.local_totals,
    ):
        self._mesh = mesh
        rule = optimizer.create_rule(optimization, _NUM_STEPS, model)
        self._create_state = functools.partial(state.create_state, model, rule, mesh, 0, None)
        self._state: state.TrainState | None = None
        self._structs = state.state_structs(model, rule, mesh)
        self._batches = jax.device_put(list(batches), partitioning.batch_sharding(mesh))
        self.num_parameters = sum(leaf.size for leaf in jax.tree.leaves(self._structs.params))
        self._examples = [
            int((batch.example_ids != schema.PADDING_EXAMPLE).sum()) for batch in batches
        ]
        self.num_examples = self._examples[0]
        train_step = functools.partial(
            steps.train_step,
            model=model,
            rule=rule,
            objectives=weights,
            seed=0,
            accumulation_steps=accumulation_steps,
            num_shards=meshes.block_shards(mesh),
        )

        def step(state: Any, batch: schema.Batch) -> Any:
            with mock.patch.object(pretraining, "local_totals", local_totals):
                return train_step(state, batch)

        shardings = (state.state_shardings(self._structs), None)
        self._step = jax.jit(step, donate_argnums=0, out_shardings=shardings)
        self._compiled: dict[Any, jax.stages.Compiled] = {}
        with jax.set_mesh(mesh):
            self.flops = hardware.matmul_flops(step, self._structs, self._batches[0])

    def compiled(self, number: int) -> jax.stages.Compiled:
        """The program that takes the batch of this number."""
        batch = self._batches[number]
        sizes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if sizes not in self._compiled:
            with jax.set_mesh(self._mesh):
                self._compiled[sizes] = self._step.lower(self._structs, batch).compile()
        return self._compiled[sizes]

    def examples_per_second(self, count: int) -> float:
        """Of `count` steps with the first batch."""
        return self.rate([0] * count)

    def rate(self, numbers: Sequence[int]) -> float:
        """Examples a second of steps with the batches of these numbers."""
        begun = time.perf_counter()
        loss = self._loss_after(numbers)
        seconds = time.perf_counter() - begun
        if not np.isfinite(loss):
            raise alternate.BenchmarkError(
                f"the loss became {loss}; a step that skips updates is no step."
            )
        return sum(self._examples[number] for number in numbers) / seconds

    def loss_after(self, count: int) -> float:
        """Loss of the last of `count` steps with the first batch; waits for it."""
        return self._loss_after([0] * count)

    def _loss_after(self, numbers: Sequence[int]) -> float:
        metrics = {}
        self._state = self._state or self._create_state()
        for number in numbers:
            batch = self._batches[number]
            self._state, metrics = self.compiled(number)(self._state, batch)
        return float(metrics["loss"])


def words_and_mean_square(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: passes.Encoded,
    key: jax.Array,
    config: objectives.ObjectivesConfig,
) -> dict[str, jax.Array]:
    """In the place of `pretraining.local_totals`: the video's objective is its mean square."""
    fused: Any = model.apply(
        variables,
        encoded.text,
        block.text_segment_ids,
        encoded.video,
        block.video_segment_ids,
        method="fuse",
        rngs={"dropout": jax.random.fold_in(key, _FUSE)},
    )
    fused_text, fused_video = fused
    slots = heads.gather_slots(fused_text, block.text_slots)
    logits: Any = model.apply(variables, slots, method="piece_logits")
    # The step divides each total by its weight, here the number of masked clips.
    mean_square = jnp.square(fused_video).mean() * block.video_slot_weights.sum()
    return {"masked_language": masked_language.total(logits, block), "masked_video": mean_square}


@dataclasses.dataclass(frozen=True)
class Form:
    """How our side runs. devices: [] for one CPU."""

    devices: Sequence[Any] = ()
    compute_dtype: str = "float32"
    unroll_layers: bool = True


def network_config(sizes: lxmert.Sizes, form: Form) -> ModelConfig:
    """Settings of our network that is equal to LXMERT of these sizes."""
    return ModelConfig(
        embed_dim=sizes.embed_dim,
        num_heads=sizes.num_heads,
        feed_forward_dim=sizes.feed_forward_dim,
        joint_dim=8,  # heads that take no part are kept small
        bag_of_words_head=False,
        bag_of_words_reads="tower",
        bag_of_words_dropout_rate=0.0,
        token_head=False,
        answers=0,
        clip_labels=0,
        extra_heads=(),
        masked_video_head="nce",
        visual_words=VisualWordsConfig(branching=1, depth=1),  # there are none
        activation="gelu",
        norm="post",
        norm_epsilon=1e-12,  # LXMERT's
        dropout_rate=sizes.hidden_dropout,
        attention="dense",
        attention_dropout_rate=sizes.attention_dropout,
        compute_dtype=form.compute_dtype,
        remat="none",
        unroll_layers=form.unroll_layers,
        text=TextConfig(
            num_layers=sizes.text_layers,
            vocabulary_size=sizes.vocabulary,
            max_length=sizes.text_length,
            input="pieces",
            bert=BertConfig(1, 1, 1, 1, "gelu", 1e-12),  # there is none
        ),
        video=VideoConfig(
            sizes.video_layers, sizes.feature_dim, sizes.video_length, "none", 0.0, 0.0
        ),
        cross=CrossConfig(sizes.cross_layers, share_directions=True),
        decoder=DecoderConfig(num_layers=0),
    )


def ours_like_lxmert(
    sizes: lxmert.Sizes, batches: Sequence[schema.Batch] | None = None, form: Form | None = None
) -> TrainingStep:
    """Our training step on the network of `sizes`, and on its batch where no others are given."""
    form = form or Form()
    config = network_config(sizes, form)
    if batches is None:
        batches = [_full_batch_of(sizes)]
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), form.devices or jax.devices("cpu")[:1])
    return TrainingStep(
        VideoBert(config),
        batches,
        _optimization_of(sizes),
        objective_weights(masked_language=1.0, masked_video=1.0),
        mesh,
        local_totals=words_and_mean_square,
    )


def _full_batch_of(sizes: lxmert.Sizes) -> schema.Batch:
    shape = schema.RowShape(
        examples=1,
        text_length=sizes.text_length,
        video_length=sizes.video_length,
        masked_text=sizes.masked_text,
        masked_video=1,
        feature_dim=sizes.feature_dim,
        weighted_text=0,
        target_length=0,
        answered=0,
        labelled=0,
    )
    return full_batch(shape, 1, sizes.rows, sizes.vocabulary)


def _optimization_of(sizes: lxmert.Sizes) -> OptimizerConfig:
    return OptimizerConfig(
        learning_rate=sizes.learning_rate,
        warmup_steps=1,
        end_learning_rate_fraction=1.0,
        weight_decay=sizes.weight_decay,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=sizes.clip_norm,
        layer_decay=1.0,
        frozen=(),
        ema_decay=0.0,
        shard_over_data=False,
        spike_factor=20.0,
    )


def objective_weights(**weights: float) -> objectives.ObjectivesConfig:
    """Objectives with these weights; those not named are off."""
    return objectives.ObjectivesConfig(
        masked_language=objectives.MaskedLanguageConfig(weights.get("masked_language", 0.0)),
        masked_video=objectives.MaskedVideoConfig(weights.get("masked_video", 0.0), 0.07),
        matching=objectives.MatchingConfig(weights.get("matching", 0.0), "uniform"),
        contrastive=objectives.ContrastiveConfig(weights.get("contrastive", 0.0), 0, 1),
        bag_of_words=objectives.BagOfWordsConfig(weights.get("bag_of_words", 0.0)),
        token_contrastive=objectives.TokenContrastiveConfig(
            weights.get("token_contrastive", 0.0), 0.07, 1
        ),
        cascade=objectives.CascadeConfig(weights.get("cascade", 0.0), 1),
        captioning=objectives.CaptioningConfig(
            weight=weights.get("captioning", 0.0),
            label_smoothing=0.1,
            word_dropout=0.0,
            inputs="both",
            chunks=1,
        ),
        answering=objectives.AnsweringConfig(weights.get("answering", 0.0)),
        segmentation=objectives.SegmentationConfig(weights.get("segmentation", 0.0)),
        extra=(),
        twin_clip_distance=2,
    )


def full_batch(shape: schema.RowShape, blocks: int, rows: int, vocabulary: int) -> schema.Batch:
    """Random batch without padding: examples of a row share its places evenly."""
    generator = np.random.default_rng(0)
    made = schema.zero_batch(shape, blocks, rows)
    for side in ("text", "video", "target"):
        length = getattr(shape, f"{side}_length")
        example = np.arange(length) * shape.examples // length
        getattr(made, f"{side}_segment_ids")[:] = example + 1
        first = np.searchsorted(example, example)
        getattr(made, f"{side}_positions")[:] = np.arange(length) - first
    made.text_ids[:] = generator.integers(5, vocabulary, made.text_ids.shape)
    made.target_ids[:] = generator.integers(5, vocabulary, made.target_ids.shape)
    made.video_features[:] = generator.normal(size=made.video_features.shape)
    for side, length in (("text", shape.text_length), ("video", shape.video_length)):
        slots = getattr(made, f"{side}_slots")
        order = np.argsort(generator.random((*slots.shape[:2], length)))
        slots[:] = np.sort(order[..., : slots.shape[-1]])
        getattr(made, f"{side}_slot_weights")[:] = 1
    made.text_targets[:] = generator.integers(5, vocabulary, made.text_targets.shape)
    made.example_ids[:] = np.arange(made.example_ids.size).reshape(made.example_ids.shape)
    made.video_ids[:] = made.example_ids
    made.caption_hashes[:] = made.example_ids + 1
    made.pair_weights[:] = 1
    return made
