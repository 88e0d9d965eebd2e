"""Speed of the training step: against LXMERT on CPU, or by itself on an accelerator.

    python -m benchmarks.train_step --against lxmert [--json FILE]
    python -m benchmarks.train_step --device [--config configs/videobert_base.py] [--json FILE]

Against LXMERT both sides train equal networks on equal batches, float32: word prediction at
gathered positions plus the mean square of the video output, dropout 0.1, none in attention,
clipping, AdamW. Ours is the step of the training loop, with that mean square in the place of
masked video modelling. On a device it is the step of a config, all objectives on, and the figure
is the share of the device's peak that its matrix products reach.
"""

import argparse
import dataclasses
import functools
import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import alternate, lxmert
from videobert_jax import configuration, schema
from videobert_jax.cli import failures
from videobert_jax.data import block
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
from videobert_jax.objectives import masked_language, pretraining
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import hardware, optimizer, state, steps
from videobert_jax.training.config import OptimizerConfig

TARGET = 1.25  # ours by LXMERT's
_EQUAL = 0.02  # by which parameters and FLOPs of the two sides may differ
_NUM_STEPS = 1_000_000  # of the schedule: the learning rate stays what it is
_FUSE = 7  # stream of the block's key


class TrainingStep:
    """The step of the training loop, compiled for the shapes of its batches, with a state.

    flops: of a step with the first batch; num_examples: of that batch.
    """

    def __init__(
        self,
        model: VideoBert,
        batches: Sequence[schema.Batch],
        optimization: OptimizerConfig,
        weights: objectives.ObjectivesConfig,
        mesh: jax.sharding.Mesh,
        accumulation_steps: int = 1,
    ):
        self._mesh = mesh
        rule = optimizer.create_rule(optimization, _NUM_STEPS, model)
        self._state = state.create_state(model, rule, mesh, 0, None)
        self._batches = jax.device_put(list(batches), partitioning.batch_sharding(mesh))
        self.num_parameters = sum(leaf.size for leaf in jax.tree.leaves(self._state.params))
        self._examples = [
            int((batch.example_ids != schema.PADDING_EXAMPLE).sum()) for batch in batches
        ]
        self.num_examples = self._examples[0]
        step = functools.partial(
            steps.train_step,
            model=model,
            rule=rule,
            objectives=weights,
            seed=0,
            accumulation_steps=accumulation_steps,
            num_shards=meshes.block_shards(mesh),
        )
        with jax.set_mesh(mesh):
            self.flops = hardware.matmul_flops(step, self._state, self._batches[0])
            shardings = (jax.tree.map(lambda leaf: leaf.sharding, self._state), None)
            jitted = jax.jit(step, donate_argnums=0, out_shardings=shardings)
            self._compiled = {
                _sizes_of(batch): jitted.lower(self._state, batch).compile()
                for batch in {_sizes_of(batch): batch for batch in self._batches}.values()
            }

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
        for number in numbers:
            batch = self._batches[number]
            self._state, metrics = self._compiled[_sizes_of(batch)](self._state, batch)
        return float(metrics["loss"])


def _sizes_of(batch: schema.Batch) -> tuple[tuple[int, ...], ...]:
    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))


def words_and_mean_square(
    model: VideoBert,
    variables: Any,
    block: schema.Batch,
    encoded: pretraining.Encoded,
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


def ours_like_lxmert(
    sizes: lxmert.Sizes, batches: Sequence[schema.Batch] | None = None
) -> TrainingStep:
    """Our training step on the network of `sizes`, and on its batch where no others are given."""
    config = ModelConfig(
        embed_dim=sizes.embed_dim,
        num_heads=sizes.num_heads,
        feed_forward_dim=sizes.feed_forward_dim,
        joint_dim=8,  # heads that take no part are kept small
        bag_of_words_head=False,
        token_head=False,
        masked_video_head="nce",
        visual_words=VisualWordsConfig(branching=1, depth=1),  # there are none
        activation="gelu",
        norm="post",
        norm_epsilon=1e-12,  # LXMERT's
        dropout_rate=sizes.hidden_dropout,
        attention="dense",
        attention_dropout_rate=sizes.attention_dropout,
        compute_dtype="float32",
        remat="none",
        unroll_layers=True,
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
    if batches is None:
        batches = [_full_batch_of(sizes)]
    optimization = _optimization_of(sizes)
    weights = objective_weights(masked_language=1.0, masked_video=1.0)
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices("cpu")[:1])
    with mock.patch.object(pretraining, "local_totals", words_and_mean_square):
        return TrainingStep(VideoBert(config), batches, optimization, weights, mesh)


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
        captioning=objectives.CaptioningConfig(weights.get("captioning", 0.0), 0.1, "both", 1),
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


def against_lxmert(rounds: int, steps_a_run: int) -> dict[str, Any]:
    """The record of alternating runs. Raises BenchmarkError where the networks are not equal."""
    sizes = lxmert.Sizes()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    peer = lxmert.Peer(sizes, threads=cores or 1)
    ours = ours_like_lxmert(sizes)
    figures = {
        "parameters": {"ours": ours.num_parameters, "peer": peer.num_parameters},
        "flops_a_step": {"ours": ours.flops, "peer": peer.flops()},
    }
    for name, values in figures.items():
        print(f"{name}: ours {values['ours']:,.0f}, LXMERT {values['peer']:,.0f}")
        if abs(values["ours"] / values["peer"] - 1) > _EQUAL:
            raise alternate.BenchmarkError(f"the networks are not equal: {name} {values}")
    rates = alternate.run(
        functools.partial(ours.examples_per_second, steps_a_run),
        {"LXMERT, fused AdamW": functools.partial(peer.examples_per_second, steps_a_run)},
        rounds=rounds,
    )
    return alternate.record(
        "train_step",
        rates,
        "examples/s",
        ["flax", "optax", "torch", "transformers"],
        {
            **figures,
            "seconds_a_step": {
                "ours": sizes.rows / rates.ours_median,
                "peer": sizes.rows / rates.peer_median,
            },
            "gflops": {
                "ours": ours.flops * rates.ours_median / sizes.rows / 1e9,
                "peer": figures["flops_a_step"]["peer"] * rates.peer_median / sizes.rows / 1e9,
            },
            "network": dataclasses.asdict(sizes),
            "target": TARGET,
        },
    )


def on_device(run: configuration.RunConfig, rounds: int, steps_a_run: int) -> dict[str, Any]:
    """The record of the step of a config on all accelerators there are."""
    devices = jax.devices()
    if devices[0].platform == "cpu":
        raise alternate.BenchmarkError(
            "--device: jax finds no accelerator; install its packages (make setup "
            "ACCELERATOR=cuda12|cuda13|tpu), or compare on CPU with --against lxmert."
        )
    feature_dim = run.model.video.feature_dim or 1024
    config = configuration.resolve_model(
        run, vocabulary_size=run.data.vocabulary_size, feature_dim=feature_dim
    )
    config = configuration.model_on(run, config, devices[0].platform)
    shape = block.BlockSettings.from_config(run.data, run.seed, feature_dim).shape
    mesh = meshes.create_mesh(run.mesh)
    accumulation = run.training.accumulation_steps
    meshes.require_divisible_blocks(run.data.blocks_per_batch, accumulation, mesh)
    batch = full_batch(shape, run.data.blocks_per_batch, run.data.rows, run.data.vocabulary_size)
    step = TrainingStep(
        VideoBert(config), [batch], run.optimizer, run.objectives, mesh, accumulation
    )
    step.examples_per_second(2)
    rates = [step.examples_per_second(steps_a_run) for _ in range(rounds)]
    rate = statistics.median(rates)
    achieved = step.flops * rate / step.num_examples / len(devices)
    peak = hardware.peak_flops(devices[0].device_kind)
    return {
        "benchmark": "train_step_device",
        "figures": {
            "unit": "examples/s",
            "ours": rate,
            "ours_runs": rates,
            "config": run.name,
            "parameters": step.num_parameters,
            "global_batch_size": step.num_examples,
            "flops_a_step": step.flops,
            "seconds_a_step": step.num_examples / rate,
            "tflops_a_device": achieved / 1e12,
            "mfu": achieved / peak if peak is not None else None,
        },
        "hardware": alternate.hardware(),
        "versions": alternate.versions(["flax", "optax"]),
        "commit": alternate.commit(),
    }


def run(arguments: argparse.Namespace) -> int:
    """0; 1 where the ratio is below the target."""
    if arguments.against is not None:
        jax.config.update("jax_platforms", "cpu")
        record = against_lxmert(arguments.rounds, arguments.steps)
        alternate.write(record, arguments.json)
        print(f"ratio {record['ratio']:.3f}, target {TARGET}")
        return 0 if record["ratio"] >= TARGET else 1
    config = configuration.load_file(arguments.config)
    for setting in arguments.set:
        configuration.apply_override(config, *setting.split("=", 1))
    record = on_device(configuration.parse(config), arguments.rounds, arguments.steps)
    alternate.write(record, arguments.json)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--against", choices=["lxmert"])
    what.add_argument("--device", action="store_true", help="ours alone, on the accelerator")
    parser.add_argument("--config", default="configs/videobert_base.py", help="with --device")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another setting of it"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="steps a run")
    parser.add_argument("--json", help="file for the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
