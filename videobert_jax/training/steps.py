"""The training step: pure; jitted once, in the loop.

A batch is `[k, r, ...]`, k blocks over the mesh axes (data, fsdp). Local objectives are a `vmap`
over blocks. The contrastive loss is global: only the embeddings `[k r e, j]` are gathered. With
accumulation the step has two phases (GradCache, Gao et al. 2021): embeddings micro-batch by
micro-batch; loss and cotangents on the gathered matrix; then the backward passes, each fed its
rows of the cotangents. So accumulation changes memory and nothing else.

Without fsdp gradients are summed over `data` once a step, in float32. To the partitioner every
shard of `data` has parameters of its own, `_copies` of the one, which cost nothing; else it would
sum a gradient at each use of a parameter, in every pass of the cross-modal encoder and every
micro-batch. With fsdp it does: the TPU compiler makes a reduce-scatter of a gradient alone, and of
copies' gradients a whole sum, twice the bytes; a device's part of them is then summed over `data`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import contrastive, passes, pretraining
from videobert_jax.objectives.config import ObjectivesConfig
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import judgement, model_flops
from videobert_jax.training.means import Means, Totals
from videobert_jax.training.state import TrainState, laid_out_for_update, update_layouts
from videobert_jax.training.update_rule import UpdateRule


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
    data_parts: int | None = None,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """(next state, metrics) of one global batch.

    An update that `guard` does not allow leaves params, average and moments as they were
    (`update_skipped` 1) and the step counts. An objective's metric is its mean, NaN where its
    weight is 0. `tokens` are those that are no padding, `model_flops` what they need.
    """
    trainable = rule.trainable(state.params)
    layouts = None
    if rule.shard_over_data and data_parts not in (None, _num_copies()):
        layouts = update_layouts(trainable, model, rule, data_parts)
    problem = _Problem(model, objectives, batch, state, seed, layouts, data_parts)
    if accumulation_steps == 1:
        (_, totals), gradients = jax.value_and_grad(problem.loss, has_aux=True)(trainable)
    else:
        totals, gradients = problem.accumulate(trainable, accumulation_steps, num_shards)
    gradients = laid_out_for_update(gradients, model, rule, data_parts)
    before = laid_out_for_update(state.params, model, rule, data_parts)
    trainable = rule.trainable(before)
    gradient_norm = optax.tree.norm(gradients)
    updates, opt_state = rule.update(gradients, state.opt_state, trainable, gradient_norm)
    updated = rule.applied(updates, trainable)
    rate = jnp.asarray(rule.schedule(state.step), jnp.float32)
    allowed, window, metrics = judgement.of_update(
        problem.means,
        totals,
        model_flops.count(batch),
        gradient_norm,
        optax.tree.norm(updates),
        rate,
        state.window,
        rule=rule,
        model=model,
    )
    behind = judgement.next_state(
        state,
        allowed,
        window,
        trainable=trainable,
        updated=updated,
        opt_state=opt_state,
        average=rule.averaged(state.ema, {**before, **updated}),
    )
    return behind, metrics


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
    names = list(problem.means.weights)

    def means(params: Any) -> Float[Array, " n"]:
        totals = problem.loss(params)[1]
        return jnp.stack([problem.means.mean(name, totals[name]) for name in names])

    # One forward pass, and one backward pass that is compiled once and run for each objective.
    _, pull_back = jax.vjp(means, rule.trainable(state.params))
    norms = jax.lax.map(
        lambda cotangent: optax.tree.norm(pull_back(cotangent)), jnp.eye(len(names))
    )
    return dict(zip(names, norms, strict=True))


def over_blocks(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of parameters and of one block, mapped over the blocks `[k, ...]`, which the block
    axes split. The parameters are `_copies`."""
    copies = _num_copies()
    if copies == 1:
        return jax.vmap(function, (None, 0, 0), spmd_axis_name=meshes.BLOCK_AXES)
    data, *rest = meshes.BLOCK_AXES
    of_shard = jax.vmap(function, (None, 0, 0), spmd_axis_name=tuple(rest))
    of_shards = jax.vmap(of_shard, spmd_axis_name=data)

    def split(values: Array) -> Array:
        shards = values.reshape(copies, values.shape[0] // copies, *values.shape[1:])
        return _constrained(shards, data, tuple(rest))

    def merge(values: Array) -> Array:
        return _constrained(values.reshape(-1, *values.shape[2:]), meshes.BLOCK_AXES)

    def mapped(params: Any, *blocks: Any) -> Any:
        return jax.tree.map(merge, of_shards(params, *jax.tree.map(split, blocks)))

    return mapped


def _num_copies() -> int:
    """Shards of `data`, where fsdp splits no parameters; else 1."""
    sizes = jax.sharding.get_abstract_mesh().shape
    data, fsdp = (sizes.get(axis, 1) for axis in meshes.BLOCK_AXES)
    return data if fsdp == 1 else 1


def _copies(params: Any, layouts: Any) -> Any:
    """Parameters `[n, ...]`, one for each of the n shards of `data`, where there are several; their
    gradient is `_summed`."""
    if _num_copies() == 1:
        return params
    if layouts is None:
        return jax.tree.map(_spread, params)
    return jax.tree.map(_spread_in_parts, params, layouts)


def _spread(leaf: Array) -> Array:
    values = jnp.broadcast_to(leaf[None], (_num_copies(), *leaf.shape))
    return _constrained(values, meshes.BLOCK_AXES[0], *_unsaid(leaf.ndim))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spread_in_parts(leaf: Array, layout: NamedSharding) -> Array:
    return _spread(leaf)


_spread_in_parts.defvjp(
    lambda leaf, layout: (_spread(leaf), None),
    lambda layout, _, gradient: (_summed_in_parts(gradient, layout),),
)


def _summed(gradients: Any, layouts: Any) -> Any:
    """Gradients of parameters out of those of their `_copies`. layouts: those of the update, where
    it splits them over a part of data alone; else None."""
    if _num_copies() == 1:
        return gradients
    if layouts is None:
        return jax.tree.map(lambda leaf: leaf.sum(0), gradients)
    return jax.tree.map(_summed_in_parts, gradients, layouts)


def _summed_in_parts(copies: Array, layout: NamedSharding) -> Array:
    """The sum of the copies, scattered over the mesh's `data` and then summed over `replica`: so a
    device sends as much as for one scatter over both, which a TPU has not (`meshes.data_parts`)."""
    mesh, whole, spec = layout.mesh, copies.shape[1:], [*layout.spec]
    parts = mesh.shape["data"]
    if "data" in spec:
        # Parts along a dimension of their own: of a matrix the TPU compiler scatters no rows.
        split = spec.index("data")
        whole = (*whole[:split], parts, whole[split] // parts, *whole[split + 1 :])
        spec.insert(split + 1, None)
    by_part = copies.reshape(-1, parts, *whole)
    by_part = _laid_out(by_part, mesh, "replica", "data", *_unsaid(len(whole)))
    summed = _laid_out(by_part.sum(1), mesh, "replica", *spec).sum(0)
    return jax.lax.with_sharding_constraint(summed.reshape(copies.shape[1:]), layout)


def _unsaid(number: int) -> tuple[Any, ...]:
    return (PartitionSpec.UNCONSTRAINED,) * number


def _laid_out(values: Array, mesh: Mesh | AbstractMesh, *layout: Any) -> Array:
    return jax.lax.with_sharding_constraint(values, NamedSharding(mesh, PartitionSpec(*layout)))


def _constrained(values: Array, *layout: Any) -> Array:
    """`values` laid out so over mesh axes, where a mesh is set."""
    if jax.sharding.get_abstract_mesh().empty:
        return values
    return jax.lax.with_sharding_constraint(values, PartitionSpec(*layout))


class _Problem:
    """The loss of one batch as a function of the parameters, whole or in micro-batches."""

    def __init__(
        self,
        model: VideoBert,
        config: ObjectivesConfig,
        batch: schema.Batch,
        state: TrainState,
        seed: int,
        layouts: Any = None,
        data_parts: int | None = None,
    ) -> None:
        """layouts: of the update, as `_summed` has them."""
        self.model, self.config, self.batch, self.state = model, config, batch, state
        self.layouts, self.data_parts = layouts, data_parts
        num_blocks = batch.example_ids.shape[0]
        self.keys = pretraining.block_keys(seed, state.step, num_blocks)
        weights = over_blocks(lambda _, block, key: pretraining.block_weights(block, key, config))(
            (), batch, self.keys
        )
        self.means = Means(config, {name: values.sum() for name, values in weights.items()})

    def variables(self, params: Any) -> dict[str, Any]:
        """Of the network with these parameters, the state's in the place of those frozen."""
        return {"params": {**self.state.params, **params}, "constants": self.state.constants}

    def local(self, params: Any, batch: schema.Batch, keys: Array) -> tuple[Totals, passes.Encoded]:
        """(sums of the local objectives, the towers' outputs) of some blocks, by `_copies`."""

        def block_totals(params: Any, block: schema.Batch, key: Array) -> Any:
            variables = self.variables(params)
            encoded = passes.encode(self.model, variables, block, key)
            totals = pretraining.local_totals(
                self.model, variables, block, encoded, key, self.config
            )
            return totals, encoded

        totals, encoded = over_blocks(block_totals)(params, batch, keys)
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
            self.data_parts,
        )

    def scale(self, params: Any) -> Float[Array, ""]:
        scale: Any = self.model.apply(self.variables(params), method="contrastive_scale")
        return scale

    def loss(self, params: Any) -> tuple[Float[Array, ""], Totals]:
        """(loss, sums of the objectives) of the whole batch at once."""
        totals, encoded = self.local(_copies(params, self.layouts), self.batch, self.keys)
        if "contrastive" in self.means.weights:
            totals["contrastive"] = self.contrastive(
                encoded.text_embeddings, encoded.video_embeddings, self.scale(params)
            )
        return self.means.weighted(totals), totals

    def accumulate(self, params: Any, steps: int, num_shards: int) -> tuple[Totals, Any]:
        """(sums of the objectives, gradients of `params`), a micro-batch at a time."""
        micro_batches = _split((self.batch, self.keys), steps, num_shards)
        totals: Totals = {}
        cotangents = None
        copies, gradients = _copies(params, self.layouts), jax.tree.map(jnp.zeros_like, params)
        if "contrastive" in self.means.weights:
            totals["contrastive"], embedded = self._contrastive_cotangents(
                copies, self.scale(params), micro_batches, num_shards
            )
            cotangents = _split(embedded[:2], steps, num_shards)
            _, pull_back = jax.vjp(self.scale, params)
            (gradients,) = pull_back(embedded[2])

        def micro_loss(copies: Any, micro: Any) -> tuple[Float[Array, ""], Totals]:
            (batch, keys), rows = micro
            local, encoded = self.local(copies, batch, keys)
            loss = self.means.weighted(local)
            if rows is not None:
                loss += jnp.vdot(encoded.text_embeddings, rows[0])
                loss += jnp.vdot(encoded.video_embeddings, rows[1])
            return loss, local

        def add(carry: Any, micro: Any) -> tuple[Any, Totals]:
            (_, local), gradients = jax.value_and_grad(micro_loss, has_aux=True)(copies, micro)
            return jax.tree.map(jnp.add, carry, gradients), local

        zeros = jax.tree.map(jnp.zeros_like, copies)
        of_copies, local = jax.lax.scan(add, zeros, (micro_batches, cotangents))
        totals |= {name: values.sum() for name, values in local.items()}
        return totals, jax.tree.map(jnp.add, gradients, _summed(of_copies, self.layouts))

    def _contrastive_cotangents(
        self, copies: Any, scale: Array, micro_batches: Any, num_shards: int
    ) -> Any:
        """(contrastive sum, its gradients in text, video embeddings `[k, r, e, j]` and scale)."""

        def encode(params: Any, block: schema.Batch, key: Array) -> Any:
            return passes.encode(self.model, self.variables(params), block, key)

        def embed(_: None, micro: Any) -> tuple[None, Any]:
            encoded = over_blocks(encode)(copies, *micro)
            return None, (encoded.text_embeddings, encoded.video_embeddings)

        _, embedded = jax.lax.scan(embed, None, micro_batches)
        text, video = (_merge(values, num_shards) for values in embedded)

        def weighted(text: Array, video: Array, scale: Array) -> tuple[Array, Array]:
            total = self.contrastive(text, video, scale)
            return self.means.weighted({"contrastive": total}), total

        (_, total), gradients = jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True)(
            text, video, scale
        )
        return total, gradients


def _split(tree: Any, steps: int, num_shards: int) -> Any:
    """Leaves `[k, ...]` as `[steps, k / steps, ...]`, every shard keeping its own blocks."""

    def split(values: Array) -> Array:
        # Sizes are said, not inferred: a leaf that a run does without has 0 places.
        blocks, *rest = values.shape
        per_shard = values.reshape(num_shards, steps, blocks // (num_shards * steps), *rest)
        micro = jnp.swapaxes(per_shard, 0, 1)
        return _constrained(micro.reshape(steps, blocks // steps, *rest), None, meshes.BLOCK_AXES)

    return jax.tree.map(split, tree)


def _merge(values: Array, num_shards: int) -> Array:
    """The inverse of `_split`: `[steps, k / steps, ...]` as `[k, ...]`, in the batch's order."""
    steps, _, *rest = values.shape
    per_shard = jnp.swapaxes(values.reshape(steps, num_shards, -1, *rest), 0, 1)
    return _constrained(per_shard.reshape(-1, *rest), meshes.BLOCK_AXES)
