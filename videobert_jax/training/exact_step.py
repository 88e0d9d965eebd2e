"""The training step whose bits no mesh changes: that of `--config.exact`, for tensor = 1.

The block is what is computed at a time, with whole parameters, on whatever device: so a block's
program has the same shapes everywhere. Sums over blocks follow one binary tree over their numbers:
every device adds the subtree of its own, then devices meet in pairs (`tree_sums`). Numbers an
objective are gathered, and summed as one array of all blocks. Norms are of whole gradients and
updates. The update is elementwise, and each device makes its part of it.

What is computed is compiled apart (`_apart`). A compiler that fuses a product into the sum that
follows rounds once where it would round twice, and what it fuses depends on what stands around; so
does the order of dimensions in memory that it chooses for an array, and with that the order of the
sums in a product of matrices.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.experimental import layout
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import contrastive, passes, pretraining
from videobert_jax.objectives.config import ObjectivesConfig
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import shards
from videobert_jax.training import judgement, model_flops, tree_sums
from videobert_jax.training.means import Means, Totals
from videobert_jax.training.state import TrainState
from videobert_jax.training.update_rule import UpdateRule

# XLA looks for common subexpressions once more in what it partitions, before it simplifies: then a
# program for one device becomes another than one for several, in which a division is a product
# with the reciprocal.
COMPILER_OPTIONS = {"xla_disable_hlo_passes": "cse"}


def train_step(
    state: TrainState,
    batch: schema.Batch,
    *,
    model: VideoBert,
    rule: UpdateRule,
    objectives: ObjectivesConfig,
    seed: int,
    layouts: TrainState,
) -> tuple[TrainState, Totals]:
    """As `steps.train_step`, on a mesh with tensor = 1 that divides a power of two of blocks, for
    an optimizer that is split as the parameters are. One block is computed at a time, so that there
    is nothing to accumulate. layouts: PartitionSpecs of the state."""

    def of_device(state: TrainState, batch: schema.Batch) -> tuple[TrainState, Totals]:
        return _Step(state, batch, model, rule, objectives, seed, layouts).take()

    specs = (layouts, PartitionSpec(meshes.BLOCK_AXES))
    results = (layouts, PartitionSpec())
    return jax.shard_map(of_device, in_specs=specs, out_specs=results, check_vma=False)(
        state, batch
    )


def _apart(alive: Array, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` of the arguments, which no compiler mixes with what stands around: a branch,
    always taken, of a condition that it cannot know, of arrays that lie in the order of their
    dimensions. `function` must read nothing else. Barriers for optimisation would not do, which
    the CPU's compiler drops before it fuses."""
    structs = jax.eval_shape(function, *arguments)

    def always(*arguments: Any) -> Any:
        return _in_order(function(*_in_order(arguments)))

    def never(*_: Any) -> Any:
        return jax.tree.map(lambda struct: jnp.zeros(struct.shape, struct.dtype), structs)

    return jax.lax.cond(alive, always, never, *_in_order(arguments))


def _in_order(tree: Any) -> Any:
    """The same arrays, laid out in memory in the order of their dimensions."""

    def laid_out(leaf: Array) -> Array:
        if leaf.ndim < 2:
            return leaf
        order = layout.Layout(major_to_minor=tuple(range(leaf.ndim)))
        return layout.with_layout_constraint(leaf, order)

    return jax.tree.map(laid_out, tree)


def _variables(given: Any, params: Any) -> dict[str, Any]:
    """Of the network with these parameters, beside those that never learn."""
    return {**given, "params": {**given["params"], **params}}


class _Step:
    """A step as one device takes it, of the part of state and batch that is its own."""

    def __init__(
        self,
        state: TrainState,
        batch: schema.Batch,
        model: VideoBert,
        rule: UpdateRule,
        config: ObjectivesConfig,
        seed: int,
        layouts: TrainState,
    ) -> None:
        self.state, self.model, self.rule = state, model, rule
        self.config, self.layouts = config, layouts
        self.apart = functools.partial(_apart, state.step >= 0)
        self.params = shards.gathered(state.params, layouts.params)
        # What never learns; a frozen module of no layers has no parameters.
        frozen = {name: self.params[name] for name in sorted(rule.frozen & self.params.keys())}
        constants = shards.gathered(state.constants, layouts.constants)
        self.given = {"params": frozen, "constants": constants}
        self.count = batch.example_ids.shape[0]
        self.turns = jnp.where(state.step >= 0, self.count, 0)
        first = jax.lax.axis_index(meshes.BLOCK_AXES) * self.count
        self.numbers = first + jnp.arange(self.count)  # of its blocks, among those of all devices
        num_blocks = self.count * jax.lax.axis_size(meshes.BLOCK_AXES)
        keys = pretraining.block_keys(seed, state.step, num_blocks)
        self.blocks = (batch, keys[self.numbers])

    def take(self) -> tuple[TrainState, Totals]:
        """(next state, metrics)."""
        state, rule = self.state, self.rule
        weights, counts = self._facts()
        totals, gradients = self._gradients(weights)
        gradient_norm = self.apart(optax.tree.norm, gradients)
        specs = rule.trainable(self.layouts.params)
        parts = shards.of_device(gradients, specs)
        updates, updated, opt_state, average, rate = self._update(parts, gradient_norm)
        update_norm = self.apart(optax.tree.norm, shards.gathered(updates, specs))

        def judge(weights: Totals, *found: Any) -> Any:
            means = Means(self.config, weights)
            return judgement.of_update(means, *found, rule=rule, model=self.model)

        found = (totals, counts, gradient_norm, update_norm, rate, state.window)
        allowed, window, metrics = self.apart(judge, weights, *found)
        behind = judgement.next_state(
            state,
            allowed,
            window,
            trainable=rule.trainable(state.params),
            updated=updated,
            opt_state=opt_state,
            average=average,
        )
        return behind, metrics

    def _facts(self) -> tuple[Totals, model_flops.Counts]:
        """(weights of the objectives, what is in the batch)."""

        def of_block(block: schema.Batch, key: Array) -> tuple[Totals, model_flops.Counts]:
            weights = pretraining.block_weights(block, key, self.config)
            return weights, model_flops.count(block)

        def scanned(_: None, block: Any) -> tuple[None, Any]:
            return None, self.apart(of_block, *block)

        return self._sums(tree_sums.in_turn(scanned, None, self.blocks, self.turns)[1])

    def _sums(self, numbers: Any) -> Any:
        """Sums over all blocks of numbers `[n]`, one for each of the device's."""

        def summed(numbers: Any) -> Any:
            return jax.tree.map(lambda values: values.sum(0), numbers)

        return self.apart(summed, shards.of_all_blocks(numbers))

    def _gradients(self, weights: Totals) -> tuple[Totals, Any]:
        """(sums of the objectives, gradients of what is trainable), whole."""
        trainable = self.rule.trainable(self.params)
        totals: Totals = {}
        rows = of_scale = None
        if "contrastive" in weights:
            totals["contrastive"], rows, of_scale = self._contrastive(trainable, weights)

        computed = jax.jit(self._of_block)  # traced once, though scanned

        def of_block(block: Any) -> Any:
            return self.apart(computed, self.given, trainable, weights, *block)

        blocks = (*self.blocks, rows)
        gradients, local = tree_sums.over_blocks(of_block, blocks, self.turns, count=self.count)
        totals |= self._sums(local)
        if of_scale is None:
            return totals, gradients

        def with_scale(given: Any, gradients: Any, trainable: Any, cotangent: Array) -> Any:
            _, pull_back = jax.vjp(functools.partial(self._scale, given), trainable)
            return jax.tree.map(jnp.add, gradients, pull_back(cotangent)[0])

        return totals, self.apart(with_scale, self.given, gradients, trainable, of_scale)

    def _of_block(
        self,
        given: Any,
        trainable: Any,
        weights: Totals,
        block: schema.Batch,
        key: Array,
        rows: Any,
    ) -> tuple[Any, Totals]:
        """(gradients, sums of the local objectives) of one block. rows: cotangents of its
        embeddings, None without the contrastive objective."""
        means = Means(self.config, weights)

        def loss(params: Any) -> tuple[Float[Array, ""], Totals]:
            variables = _variables(given, params)
            encoded = passes.encode(self.model, variables, block, key)
            local = pretraining.local_totals(
                self.model, variables, block, encoded, key, self.config
            )
            total = means.weighted(local)
            if rows is not None:
                total += jnp.vdot(encoded.text_embeddings, rows[0])
                total += jnp.vdot(encoded.video_embeddings, rows[1])
            return total, local

        (_, local), gradients = jax.value_and_grad(loss, has_aux=True)(trainable)
        return gradients, local

    def _scale(self, given: Any, params: Any) -> Float[Array, ""]:
        scale: Any = self.model.apply(_variables(given, params), method="contrastive_scale")
        return scale

    def _contrastive(self, trainable: Any, weights: Totals) -> tuple[Array, Any, Array]:
        """(contrastive sum; cotangents of the embeddings of the device's blocks, of the scale)."""

        def encode(given: Any, params: Any, block: schema.Batch, key: Array) -> Any:
            encoded = passes.encode(self.model, _variables(given, params), block, key)
            return encoded.text_embeddings, encoded.video_embeddings

        computed = jax.jit(encode)

        def embed(_: None, block: Any) -> tuple[None, Any]:
            return None, self.apart(computed, self.given, trainable, *block)

        _, (text, video) = tree_sums.in_turn(embed, None, self.blocks, self.turns)
        *own, places = contrastive.examples(text, video, self.blocks[0])
        places += self.numbers[0] * (places.size // self.count)
        every = shards.of_all_blocks((*own, places))
        scale = self.apart(self._scale, self.given, trainable)

        compared = jax.jit(self._contrast)

        def of_block(number: Array) -> Any:
            return self.apart(compared, every, scale, weights, number)

        (text, video, of_scale), totals = tree_sums.over_blocks(
            of_block, self.numbers, self.turns, count=self.count
        )
        return self._sums(totals), (text[self.numbers], video[self.numbers]), of_scale

    def _contrast(self, every: Any, scale: Array, weights: Totals, number: Array) -> Any:
        """(gradients in all embeddings and the scale, contrastive sum) of one block's examples."""
        text, video, *others = every
        means = Means(self.config, weights)

        def weighted(text: Array, video: Array, scale: Array) -> tuple[Array, Array]:
            among = (text, video, *others)
            own = jax.tree.map(
                lambda values: jax.lax.dynamic_slice_in_dim(values, number, 1), among
            )
            settings = self.config.contrastive, self.config.twin_clip_distance
            total = contrastive.total_among(own, among, scale, *settings)
            return means.weighted({"contrastive": total}), total

        (_, total), gradients = jax.value_and_grad(weighted, argnums=(0, 1, 2), has_aux=True)(
            text, video, scale
        )
        return gradients, total

    def _update(self, gradients: Any, norm: Array) -> Any:
        """(updates, what they give, state of the optimizer, average, rate), the device's part, of
        its part of the gradients."""
        rule, state = self.rule, self.state

        def update(
            gradients: Any, norm: Array, before: Any, opt_state: Any, ema: Any, step: Array
        ) -> Any:
            trainable = rule.trainable(before)
            updates, opt_state = rule.update(gradients, opt_state, trainable, norm)
            updated = rule.applied(updates, trainable)
            average = rule.averaged(ema, {**before, **updated})
            rate = jnp.asarray(rule.schedule(step), jnp.float32)
            return updates, updated, opt_state, average, rate

        moments = state.opt_state
        return self.apart(update, gradients, norm, state.params, moments, state.ema, state.step)
