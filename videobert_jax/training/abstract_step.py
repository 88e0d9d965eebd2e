"""The training step, and the shapes and layouts of its arguments: what training compiles, and what
plans compile for devices that need not be there."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh

from videobert_jax import configuration, schema
from videobert_jax.data import block
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import optimizer, state, steps
from videobert_jax.training.update_rule import UpdateRule


@dataclasses.dataclass(frozen=True)
class AbstractStep:
    """The step of the training loop, and `ShapeDtypeStruct`s of its arguments with shardings."""

    model: VideoBert
    rule: UpdateRule
    step: Callable[..., Any]
    state: state.TrainState
    batch: schema.Batch
    mesh: Mesh | AbstractMesh

    def jitted(self) -> Any:
        """The step, of (state, batch), which takes the state's place in memory."""
        layouts = (state.state_shardings(self.state), partitioning.replicated(self.mesh))
        return jax.jit(self.step, donate_argnums=0, out_shardings=layouts)

    def trace(self) -> jax.stages.Traced:
        """The jitted step's trace; arguments of these shapes are not traced again."""
        jitted = self.jitted()
        if isinstance(self.mesh, AbstractMesh):  # nothing can be compiled on it
            with jax.sharding.use_abstract_mesh(self.mesh):
                return jitted.trace(self.state, self.batch)
        with jax.set_mesh(self.mesh):
            return jitted.trace(self.state, self.batch)

    @property
    def num_parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    def argument_bytes(self) -> dict[str, int]:
        """Bytes a device of what it holds between steps, by kind."""
        return {
            "parameters": shard_bytes(self.state.params),
            "optimizer": shard_bytes(self.state.opt_state),
            "average": shard_bytes(self.state.ema),
            "constants": shard_bytes((self.state.constants, self.state.step, self.state.window)),
            "batch": shard_bytes(self.batch),
        }


def abstract_mesh(config: meshes.MeshConfig, num_devices: int) -> AbstractMesh:
    """The mesh over so many devices, none of which is needed to lay a step out on it.

    Raises ValueError where the sizes do not fit their number.
    """
    sizes = config.resolve(num_devices)
    return AbstractMesh(sizes, meshes.AXES, axis_types=(AxisType.Auto,) * len(sizes))


def shard_bytes(structs: Any) -> int:
    """Bytes of a tree of structs with shardings that one device holds, without padding."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(structs)
    )


def build(
    run: configuration.RunConfig, mesh: Mesh | AbstractMesh, feature_dim: int, platform: str
) -> AbstractStep:
    """The AbstractStep of `run`, a run without stages or a stage, for devices of a platform.

    `feature_dim` stands in for the dataset's. Raises ConfigError on settings that contradict it.
    """
    network = configuration.resolve_model(
        run, vocabulary_size=run.data.vocabulary_size, feature_dim=feature_dim
    )
    model = VideoBert(configuration.model_on(run, network, platform, mesh.shape["tensor"]))
    rule = optimizer.create_rule(run.optimizer, run.training.num_steps, model)
    shape = block.BlockSettings.from_config(
        run.data, run.seed, feature_dim, answered=network.answers > 0
    ).shape
    return of(run, model, rule, mesh, shape)


def of(
    run: configuration.RunConfig,
    model: VideoBert,
    rule: UpdateRule,
    mesh: Mesh | AbstractMesh,
    shape: schema.RowShape,
) -> AbstractStep:
    """The AbstractStep of `run` with a network, an update rule and rows that are made already."""
    step = functools.partial(
        steps.train_step,
        model=model,
        rule=rule,
        objectives=run.objectives,
        seed=run.seed,
        accumulation_steps=run.training.accumulation_steps,
        num_shards=meshes.block_shards(mesh),
    )
    layout = partitioning.batch_sharding(mesh)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout),
        schema.batch_structs(shape, run.data.blocks_per_batch, run.data.rows),
    )
    structs = state.state_structs(model, rule, mesh)
    return AbstractStep(model, rule, step, structs, batch, mesh)
