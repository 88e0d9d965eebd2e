"""The training step: pure; jitted once, in the loop.

A batch is `[k, r, ...]`, k blocks over the mesh axes (data, fsdp). Local objectives are a `vmap`
over blocks. The contrastive loss is global: only the embeddings `[k r e, j]` are gathered. With
accumulation the step has two phases (GradCache, Gao et al. 2021): embeddings micro-batch by
micro-batch; loss and cotangents on the gathered matrix; then the backward passes, each fed its
rows of the cotangents. So accumulation changes memory and nothing else.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import contrastive, pretraining
from videobert_jax.objectives.config import ObjectivesConfig
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training.state import TrainState
from videobert_jax.training.update_rule import UpdateRule

Totals = dict[str, Float[Array, ""]]


def train_step(
    state: TrainState,
    batch: schema.Batch,
    *,
    model: VideoBert,
    rule: UpdateRule,
    objectives: ObjectivesConfig,
    seed: int,
    accumulation_steps: int,
    num_shards: int,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """(next state, metrics) of one global batch.

    A gradient that is not finite leaves params, average and optimizer as they were
    (`update_skipped` 1) and the step counts. An objective's metric is its mean, NaN where its
    weight is 0.
    """
    problem = _Problem(model, objectives, batch, state, seed)
    trainable = rule.trainable(state.params)
    if accumulation_steps == 1:
        (_, totals), gradients = jax.value_and_grad(problem.loss, has_aux=True)(trainable)
    else:
        totals, gradients = problem.accumulate(trainable, accumulation_steps, num_shards)
    norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(norm)
    updates, opt_state = rule.optimizer.update(gradients, state.opt_state, trainable)
    updated: Any = optax.apply_updates(trainable, updates)
    params = {**state.params, **updated}

    def keep_if_finite(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

    metrics = {
        **problem.metrics(totals),
        "gradient_norm": norm,
        "learning_rate": jnp.asarray(rule.schedule(state.step), jnp.float32),
        "update_skipped": 1.0 - finite.astype(jnp.float32),
    }
    return TrainState(
        step=state.step + 1,
        params=keep_if_finite(params, state.params),
        constants=state.constants,
        opt_state=keep_if_finite(opt_state, state.opt_state),
        ema=keep_if_finite(rule.averaged(state.ema, params), state.ema),
    ), metrics


def objective_gradient_norms(
    state: TrainState,
    batch: schema.Batch,
    *,
    model: VideoBert,
    rule: UpdateRule,
    objectives: ObjectivesConfig,
    seed: int,
) -> dict[str, Float[Array, ""]]:
    """Norm of the gradient of every active objective in what is not frozen, unweighted; 0: it
    teaches nothing."""
    problem = _Problem(model, objectives, batch, state, seed)
    names = list(problem.weights)

    def means(params: Any) -> Float[Array, " n"]:
        totals = problem.loss(params)[1]
        return jnp.stack([problem.mean(name, totals[name]) for name in names])

    # One forward pass, and one backward pass that is compiled once and run for each objective.
    _, pull_back = jax.vjp(means, rule.trainable(state.params))
    norms = jax.lax.map(
        lambda cotangent: optax.tree.norm(pull_back(cotangent)), jnp.eye(len(names))
    )
    return dict(zip(names, norms, strict=True))


def over_blocks(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of one block, mapped over the leading axis, which the block axes split."""
    return jax.vmap(function, spmd_axis_name=meshes.BLOCK_AXES)


class _Problem:
    """The loss of one batch as a function of the parameters, whole or in micro-batches."""

    def __init__(
        self,
        model: VideoBert,
        config: ObjectivesConfig,
        batch: schema.Batch,
        state: TrainState,
        seed: int,
    ) -> None:
        self.model, self.config, self.batch, self.state = model, config, batch, state
        num_blocks = batch.example_ids.shape[0]
        self.keys = pretraining.block_keys(seed, state.step, num_blocks)
        weights = over_blocks(lambda block, key: pretraining.block_weights(block, key, config))(
            batch, self.keys
        )
        self.weights = {name: values.sum() for name, values in weights.items()}

    def mean(self, name: str, total: Float[Array, ""]) -> Float[Array, ""]:
        """Mean of an objective, 0 where nothing of it is in the batch."""
        return total / jnp.maximum(self.weights[name], 1.0)

    def weighted(self, totals: Totals) -> Float[Array, ""]:
        """Sum of the objectives' means, each times its weight in the config."""
        factors = self.config.weights()
        return jnp.asarray(
            sum(factors[name] * self.mean(name, total) for name, total in totals.items()),
            jnp.float32,
        )

    def metrics(self, totals: Totals) -> Totals:
        means = {
            name: jnp.where(self.weights[name] > 0, self.mean(name, total), jnp.nan)
            for name, total in totals.items()
        }
        return {"loss": self.weighted(totals), **means}

    def variables(self, params: Any) -> dict[str, Any]:
        """Of the network with these parameters, the state's in the place of those frozen."""
        return {"params": {**self.state.params, **params}, "constants": self.state.constants}

    def local(
        self, params: Any, batch: schema.Batch, keys: Array
    ) -> tuple[Totals, pretraining.Encoded]:
        """(sums of the local objectives, the towers' outputs) of some blocks."""
        variables = self.variables(params)

        def block_totals(block: schema.Batch, key: Array) -> Any:
            encoded = pretraining.encode(self.model, variables, block, key)
            totals = pretraining.local_totals(
                self.model, variables, block, encoded, key, self.config
            )
            return totals, encoded

        totals, encoded = over_blocks(block_totals)(batch, keys)
        return {name: values.sum() for name, values in totals.items()}, encoded

    def contrastive(self, text: Array, video: Array, scale: Array) -> Float[Array, ""]:
        """Sum of the contrastive objective over embeddings `[k, r, e, j]` of the whole batch."""
        return contrastive.total(
            text,
            video,
            scale,
            self.batch,
            self.config.contrastive,
            self.config.twin_clip_distance,
        )

    def scale(self, params: Any) -> Float[Array, ""]:
        scale: Any = self.model.apply(self.variables(params), method="contrastive_scale")
        return scale

    def loss(self, params: Any) -> tuple[Float[Array, ""], Totals]:
        """(loss, sums of the objectives) of the whole batch at once."""
        totals, encoded = self.local(params, self.batch, self.keys)
        if "contrastive" in self.weights:
            totals["contrastive"] = self.contrastive(
                encoded.text_embeddings, encoded.video_embeddings, self.scale(params)
            )
        return self.weighted(totals), totals

    def accumulate(self, params: Any, steps: int, num_shards: int) -> tuple[Totals, Any]:
        """(sums of the objectives, gradients of `params`), a micro-batch at a time."""
        micro_batches = _split((self.batch, self.keys), steps, num_shards)
        totals: Totals = {}
        cotangents = None
        scale_cotangent = jnp.zeros(())
        if "contrastive" in self.weights:
            totals["contrastive"], embedded = self._contrastive_cotangents(
                micro_batches, num_shards
            )
            cotangents = _split(embedded[:2], steps, num_shards)
            scale_cotangent = embedded[2]

        def micro_loss(params: Any, micro: Any) -> tuple[Float[Array, ""], Totals]:
            (batch, keys), rows = micro
            local, encoded = self.local(params, batch, keys)
            loss = self.weighted(local)
            if rows is not None:
                loss += jnp.vdot(encoded.text_embeddings, rows[0])
                loss += jnp.vdot(encoded.video_embeddings, rows[1])
                loss += self.scale(params) * scale_cotangent / steps
            return loss, local

        def add(carry: Any, micro: Any) -> tuple[Any, Totals]:
            (_, local), gradients = jax.value_and_grad(micro_loss, has_aux=True)(params, micro)
            return jax.tree.map(jnp.add, carry, gradients), local

        zeros = jax.tree.map(jnp.zeros_like, params)
        gradients, local = jax.lax.scan(add, zeros, (micro_batches, cotangents))
        totals |= {name: values.sum() for name, values in local.items()}
        return totals, gradients

    def _contrastive_cotangents(self, micro_batches: Any, num_shards: int) -> Any:
        """(contrastive sum, its gradients in text, video embeddings `[k, r, e, j]` and scale)."""
        params = self.state.params
        variables = self.variables(params)

        def embed(_: None, micro: Any) -> tuple[None, Any]:
            encoded = over_blocks(
                lambda block, key: pretraining.encode(self.model, variables, block, key)
            )(*micro)
            return None, (encoded.text_embeddings, encoded.video_embeddings)

        _, embedded = jax.lax.scan(embed, None, micro_batches)
        text, video = (_merge(values, num_shards) for values in embedded)

        def weighted(text: Array, video: Array, scale: Array) -> tuple[Array, Array]:
            total = self.contrastive(text, video, scale)
            return self.weighted({"contrastive": total}), total

        (_, total), gradients = jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True)(
            text, video, self.scale(params)
        )
        return total, gradients


def _split(tree: Any, steps: int, num_shards: int) -> Any:
    """Leaves `[k, ...]` as `[steps, k / steps, ...]`, every shard keeping its own blocks."""

    def split(values: Array) -> Array:
        # Sizes are said, not inferred: a leaf that a run does without has 0 places.
        blocks, *rest = values.shape
        per_shard = values.reshape(num_shards, steps, blocks // (num_shards * steps), *rest)
        micro = jnp.swapaxes(per_shard, 0, 1)
        return _over_shards(micro.reshape(steps, blocks // steps, *rest), leading=1)

    return jax.tree.map(split, tree)


def _merge(values: Array, num_shards: int) -> Array:
    """The inverse of `_split`: `[steps, k / steps, ...]` as `[k, ...]`, in the batch's order."""
    steps, _, *rest = values.shape
    per_shard = jnp.swapaxes(values.reshape(steps, num_shards, -1, *rest), 0, 1)
    return _over_shards(per_shard.reshape(-1, *rest), leading=0)


def _over_shards(values: Array, leading: int) -> Array:
    """`values` with the dimension after `leading` ones over the block axes, where a mesh is set."""
    if jax.sharding.get_abstract_mesh().empty:
        return values
    spec = PartitionSpec(*(None,) * leading, meshes.BLOCK_AXES)
    return jax.lax.with_sharding_constraint(values, spec)
