"""The training state, born sharded."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding

from videobert_jax import schema
from videobert_jax.models import variables
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.training.update_rule import UpdateRule, average_of
from videobert_jax.video.visual_words import VisualWords


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TrainState:
    """Everything a step reads and writes; plain arrays, no boxes."""

    step: Any  # int32 [], steps taken
    params: Any
    constants: Any  # input statistics of the training split
    opt_state: Any
    ema: Any  # moving average of params, float32; None where the rule keeps none
    window: Any  # of `guard`, float32 [3, 64]; None where the rule has no spike_factor

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes to be evaluated: the moving average where there is one."""
        params = self.params if self.ema is None else self.ema
        return {"params": params, "constants": self.constants}


def parameter_axes(model: VideoBert) -> Any:
    """Tuple of logical axis names a parameter."""
    return partitioning.logical_axes(variables.boxed_structs(model.config)["params"])


def parameter_shapes(model: VideoBert) -> Any:
    """`ShapeDtypeStruct` a parameter."""
    return variables.structs(model.config)["params"]


def laid_out_for_update(
    tree: dict[str, Any], model: VideoBert, rule: UpdateRule, data_parts: int | None = None
) -> dict[str, Any]:
    """Parameters or gradients, or some modules of them, laid out as the rule's update takes them;
    as they are where no mesh is set. data_parts: `meshes.data_parts`, None for all of data."""
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    layouts = update_layouts(tree, model, rule, data_parts)
    return jax.tree.map(jax.lax.with_sharding_constraint, tree, layouts)


def update_layouts(
    tree: dict[str, Any], model: VideoBert, rule: UpdateRule, data_parts: int | None = None
) -> dict[str, Any]:
    """NamedSharding a leaf of what `laid_out_for_update` takes, on the mesh that is set."""
    mesh = jax.sharding.get_abstract_mesh()
    if rule.shard_over_data:
        mesh = meshes.for_updates(mesh, data_parts or mesh.shape["data"])

    def layout(leaf: jax.Array, names: tuple[str, ...]) -> NamedSharding:
        spec = partitioning.to_spec(names)
        if rule.shard_over_data:
            spec = partitioning.split_over_data(spec, leaf.shape, mesh.shape)
        return NamedSharding(mesh, spec)

    axes = parameter_axes(model)
    return jax.tree.map(layout, tree, {name: axes[name] for name in tree})


def _boxed_state(begun: Any, rule: UpdateRule) -> TrainState:
    params = begun["params"]
    opt_state, average = rule.begin(nn.unbox(params))
    return TrainState(
        step=nn.LogicallyPartitioned(jnp.zeros((), jnp.int32), ()),
        params=params,
        constants=begun["constants"],
        opt_state=_boxed_like(opt_state, params),
        ema=_boxed_like(average, params),
        window=None
        if rule.window() is None
        else nn.LogicallyPartitioned(rule.window(), (None, None)),
    )


def _boxed_like(tree: Any, params: Any) -> Any:
    """A tree of the rule's with the axes of the parameter that each leaf belongs to."""
    boxed_params = jax.tree_util.tree_leaves_with_path(
        params, is_leaf=lambda node: isinstance(node, nn.LogicallyPartitioned)
    )
    names = {jax.tree_util.keystr(path): leaf.names for path, leaf in boxed_params}

    def box(path: Any, leaf: jax.Array) -> nn.LogicallyPartitioned:
        # adam keeps trees like the params inside its own: the path ends like the param's
        text = jax.tree_util.keystr(path)
        for start in range(len(path)):
            suffix = jax.tree_util.keystr(path[start:])
            if suffix in names:
                return nn.LogicallyPartitioned(leaf, names[suffix])
        if leaf.ndim:
            raise ValueError(f"optimizer state {text} {leaf.shape} belongs to no parameter.")
        return nn.LogicallyPartitioned(leaf, ())

    return jax.tree_util.tree_map_with_path(box, tree)


def state_structs(model: VideoBert, rule: UpdateRule, mesh: Mesh | AbstractMesh) -> TrainState:
    """TrainState of `ShapeDtypeStruct` with shardings: what restoring aims at."""
    boxed = jax.eval_shape(lambda of: _boxed_state(of, rule), variables.boxed_structs(model.config))
    shardings: TrainState = partitioning.tree_shardings(mesh, boxed)
    if rule.shard_over_data:
        parted = meshes.for_updates(mesh, meshes.data_parts(mesh))
        only_updated = (shardings.opt_state, shardings.ema)
        opt_state, average = jax.tree.map(
            lambda layout, leaf: NamedSharding(
                parted, partitioning.split_over_data(layout.spec, leaf.shape, parted.shape)
            ),
            only_updated,
            nn.unbox((boxed.opt_state, boxed.ema)),
        )
        shardings = dataclasses.replace(shardings, opt_state=opt_state, ema=average)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        nn.unbox(boxed),
        shardings,
    )


def state_shardings(structs: TrainState) -> TrainState:
    """The shardings of `state_structs`."""
    return jax.tree.map(lambda struct: struct.sharding, structs)


def create_state(
    model: VideoBert,
    rule: UpdateRule,
    mesh: Mesh,
    seed: int,
    statistics: schema.InputStatistics | None,
    visual_words: VisualWords | None = None,
    *,
    from_centroids: bool = True,
) -> TrainState:
    """State at step 0, each shard made where it lives. Call it outside any mesh context.

    `statistics` become constants; None keeps mean 0 and scale 1. So do `visual_words`.
    from_centroids: the embeddings of the words start from theirs, else random.
    """
    shardings = state_shardings(state_structs(model, rule, mesh))

    def create(key: jax.Array) -> TrainState:
        created = nn.unbox(_boxed_state(variables.begin(model, key), rule))
        if statistics is not None:
            created.constants["video_embedding"] = {
                "mean": jnp.asarray(statistics.mean, jnp.float32),
                "scale": jnp.asarray(statistics.scale, jnp.float32),
            }
        if visual_words is not None:
            _give_words(created, visual_words, from_centroids)
        return with_average(created)

    return jax.jit(create, out_shardings=shardings)(jax.random.key(seed))


def with_average(state: TrainState) -> TrainState:
    """`state` with its moving average, where it keeps one, begun anew from the parameters."""
    if state.ema is None:
        return state
    return dataclasses.replace(state, ema=average_of(state.params))


def _give_words(created: TrainState, words: VisualWords, from_centroids: bool) -> None:
    """Puts the tree of words into the constants, and where asked its leaves into the words'
    embeddings."""
    levels = {f"level_{n}": jnp.asarray(level) for n, level in enumerate(words.levels, start=1)}
    created.constants["masked_video_head"] = {"centre": jnp.asarray(words.centre), **levels}
    if not from_centroids:
        return
    head = created.params["masked_video_head"]
    leaves = jnp.asarray(words.levels[-1])
    random = head["words"][: len(leaves)]  # kept where there is no word, NaN
    head["words"] = (
        head["words"].at[: len(leaves)].set(jnp.where(jnp.isnan(leaves), random, leaves))
    )
