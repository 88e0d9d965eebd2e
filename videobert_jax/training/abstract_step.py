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
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives.config import ObjectivesConfig
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training import exact_step, hardware, optimizer, state, steps
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
    turns: int = 1  # of its loop over a device's blocks, where the trace does not say them
    compiler_options: dict[str, Any] | None = None

    @property
    def matmul_flops(self) -> float:
        """Of the products of one step, over all devices."""
        return self.turns * hardware.jaxpr_matmul_flops(self.traced.jaxpr)

    def jitted(self) -> Any:
        """The step, of (state, batch), which takes the state's place in memory."""
        layouts = (state.state_shardings(self.state), partitioning.replicated(self.mesh))
        return jax.jit(
            self.step,
            donate_argnums=0,
            out_shardings=layouts,
            compiler_options=self.compiler_options,
        )

    @functools.cached_property
    def traced(self) -> jax.stages.Traced:
        """The jitted step's trace."""
        jitted = self.jitted()
        if isinstance(self.mesh, AbstractMesh):  # nothing can be compiled on it
            with jax.sharding.use_abstract_mesh(self.mesh):
                return jitted.trace(self.state, self.batch)
        with jax.set_mesh(self.mesh):
            return jitted.trace(self.state, self.batch)

    @functools.cached_property
    def program(self) -> jax.stages.Compiled:
        """The jitted step, compiled for the devices of the mesh."""
        return self.traced.lower().compile()

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
    """The AbstractStep of `run` with a network, an update rule and rows that are made already.

    Equal arguments give the same one, with its program: a run that goes back to a checkpoint, and
    one that continues in the same process, do not compile again.
    """
    every, sizes = run.training.accumulation_steps, (run.data.blocks_per_batch, run.data.rows)
    every = None if run.exact else every
    return made(model.config, rule, run.objectives, run.seed, every, mesh, shape, sizes)


@functools.lru_cache(maxsize=4)
def made(
    network: ModelConfig,
    rule: UpdateRule,
    objectives: ObjectivesConfig,
    seed: int,
    accumulation_steps: int | None,
    mesh: Mesh | AbstractMesh,
    shape: schema.RowShape,
    sizes: tuple[int, int],
) -> AbstractStep:
    """As `of`, by all that a step depends on. accumulation_steps: None for the exact step, which
    has none. sizes: blocks of a batch, rows of a block."""
    model = VideoBert(network)
    structs = state.state_structs(model, rule, mesh)
    given = {"model": model, "rule": rule, "objectives": objectives, "seed": seed}
    if accumulation_steps is None:
        step = functools.partial(
            exact_step.train_step,
            **given,
            layouts=jax.tree.map(lambda struct: struct.sharding.spec, structs),
        )
    else:
        step = functools.partial(
            steps.train_step,
            **given,
            accumulation_steps=accumulation_steps,
            num_shards=meshes.block_shards(mesh),
            data_parts=meshes.data_parts(mesh),
        )
    layout = partitioning.batch_sharding(mesh)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout),
        schema.batch_structs(shape, *sizes),
    )
    if accumulation_steps is None:
        turns, options = sizes[0] // meshes.block_shards(mesh), exact_step.COMPILER_OPTIONS
        return AbstractStep(model, rule, step, structs, batch, mesh, turns, options)
    return AbstractStep(model, rule, step, structs, batch, mesh)
