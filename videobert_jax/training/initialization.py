"""A new run that begins with the parameters of another one, whole or module by module, or with a
published BERT."""

import dataclasses
import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import FEATURES, ModelConfig, UnknownModule, module_names
from videobert_jax.schema import FeatureContract
from videobert_jax.training import manifest, resume_rules
from videobert_jax.training.config import InitConfig
from videobert_jax.training.state import TrainState
from videobert_jax.weights.bert import Bert

# Parts whose parameters mean something only with the tokenizer, or the features, they learnt from.
OF_TOKENIZER = {"text_embedding", "masked_language_head", "bag_of_words_head", "decoder"}
OF_FEATURES = {"video_embedding", "masked_video_head"}
# Settings of the model that change what is computed and no shape.
OF_SETTINGS = ("norm", "bag_of_words_reads", *resume_rules.FUNCTION.split())
# Those of one part, by which they are compared; others are of all. What is done to features is of
# every part that reads them.
_PART_OF = {
    "bag_of_words_reads": {"bag_of_words_head"},
    "text.bert.activation": {"text_embedding"},
    "text.bert.norm_epsilon": {"text_embedding"},
}
_CONSTANTS = "constants/"
_SHOWN = 8


class InitializationError(ValueError):
    """Parameters that cannot be taken over."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """Names of the leaves taken over, and of those that stay random; partly says which of the
    former have random rows too."""

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    partly: tuple[str, ...]

    def __str__(self) -> str:
        parts = f", of them in part: {', '.join(self.partly)}" if self.partly else ""
        rest = f"; random: {_modules(self.fresh)} ({len(self.fresh)})" if self.fresh else ""
        return f"{len(self.taken)} parameters taken over ({_modules(self.taken)}){parts}{rest}"

    def beside(self, others: Collection[str]) -> "Taken":
        """The same, where the leaves `others` come from elsewhere."""
        fresh = tuple(name for name in self.fresh if name not in others)
        return dataclasses.replace(self, fresh=fresh)


def _modules(names: Sequence[str]) -> str:
    return ", ".join(sorted({name.split("/")[0] for name in names}))


def top_level_names(modules: Sequence[str], available: Sequence[str]) -> list[str]:
    """Top-level names of the parameters that `init.modules` names; all where it names none.

    Raises InitializationError on a name that is neither a group nor a module.
    """
    if not modules:
        return sorted(available)
    try:
        return sorted(module_names(modules, available))
    except UnknownModule as error:
        raise InitializationError(f"init.modules names {error}") from None


def takes_text(modules: Sequence[str], available: Sequence[str]) -> bool:
    """Whether `init.modules` names parts that mean something only with their own tokenizer.

    Raises InitializationError as `top_level_names` does.
    """
    return bool(OF_TOKENIZER & set(top_level_names(modules, available)))


def require_compatible(
    bundle: ModelBundle,
    names: Sequence[str],
    model: ModelConfig,
    *,
    tokenizer_digest: str,
    bundle_tokenizer_digest: str,
    contract: FeatureContract,
) -> None:
    """Raises InitializationError, ContractMismatch where parameters would be read with another
    tokenizer, fed other features, or computed with otherwise, than they learnt from."""
    if OF_TOKENIZER & set(names) and tokenizer_digest != bundle_tokenizer_digest:
        raise InitializationError(
            f"init.checkpoint {bundle.name} has the tokenizer {bundle_tokenizer_digest[:12]}, this "
            f"workdir {tokenizer_digest[:12]}: its piece ids would mean other words. Use a new "
            "--workdir, which takes the tokenizer over, or leave the text out of init.modules."
        )
    of_features = set(OF_FEATURES)
    if bundle.config.bag_of_words_reads == FEATURES:
        of_features |= {"bag_of_words_head"}
    parts_of = {**_PART_OF, "video.input_normalization": of_features}
    compared = {
        name: (operator.attrgetter(name)(model), operator.attrgetter(name)(bundle.config))
        for name in OF_SETTINGS
        if name not in parts_of or parts_of[name] & set(names)
    }
    if differing := [
        f"model.{name} is {ours!r}, {theirs!r} there"
        for name, (ours, theirs) in compared.items()
        if ours != theirs
    ]:
        raise InitializationError(
            f"init.checkpoint {bundle.name} learnt as another network of the same shapes: "
            f"{'; '.join(differing)}. Say the same, or leave the part out of init.modules."
        )
    if of_features & set(names):
        contract.verify_against(
            bundle.contract, found="the dataset", expected=f"init.checkpoint {bundle.name}"
        )


def initialize(
    state: TrainState, bundle: ModelBundle, modules: Sequence[str]
) -> tuple[TrainState, Taken]:
    """`state` with the parameters of `bundle`, laid out as they were; and what was taken.

    With modules named, those are taken whole and the rest stays random; without, everything must
    match. Constants come with their modules, such as the input statistics with the video tower.
    Raises InitializationError listing the leaves that do not match.
    """
    names = set(top_level_names(modules, sorted(state.params)))
    own, given = _leaves_of(state.variables, names), _leaves_of(bundle.variables, names)
    problems = [
        f"{name}: {_form(given.get(name))} in the checkpoint, {_form(leaf)} in the model"
        for name, leaf in own.items()
        if _form(given.get(name)) != _form(leaf)
    ]
    problems += [f"{name}: only the checkpoint has it" for name in given if name not in own]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InitializationError(
            f"init.checkpoint {bundle.name} does not match the model: "
            f"{'; '.join(problems[:_SHOWN])}{more}. Use the model settings it was made with, or "
            f"name what to take: --config.init.modules=text_tower,video_tower."
        )
    placed = {name: _placed(given[name], leaf) for name, leaf in own.items()}
    every = _leaves_of(state.variables, {*state.params, *state.constants})
    merged = jax.tree.unflatten(
        jax.tree.structure(state.variables),
        [placed.get(name, leaf) for name, leaf in every.items()],
    )
    params = [name for name in every if not name.startswith(_CONSTANTS)]
    taken = tuple(name for name in params if name in placed)
    fresh = tuple(name for name in params if name not in placed)
    return dataclasses.replace(state, **merged), Taken(taken, fresh, ())


def _leaves_of(variables: Mapping[str, Any], modules: Collection[str]) -> dict[str, Any]:
    """Leaves of these modules by name, the names of constants behind `constants/`."""
    kept = {
        collection: {module: leaves[module] for module in leaves if module in modules}
        for collection, leaves in variables.items()
    }
    return {
        name.removeprefix("params/"): leaf for name, leaf in manifest.named_leaves(kept).items()
    }


def require_vectors(init: InitConfig, model: ModelConfig) -> None:
    """Raises InitializationError where a run begins that reads a BERT's vectors, but nothing gives
    it the BERT."""
    of_text = not init.modules or {"text_tower", "text_embedding"} & set(init.modules)
    given = init.bert or (init.checkpoint and of_text)
    if model.text.input == "bert_vectors" and not given:
        raise InitializationError(
            "model.text.input='bert_vectors' needs a BERT to begin with, found neither init.bert "
            "nor an init.checkpoint that gives the text tower; say --config.init.bert=DIR."
        )


def require_apart(init: InitConfig, model: ModelConfig, available: Sequence[str]) -> None:
    """Raises InitializationError where init.checkpoint gives what init.bert gives too, or what
    means something only with the checkpoint's own tokenizer."""
    of_bert = set(OF_TOKENIZER)
    if model.text.input == "pieces":
        of_bert |= {"text_encoder"}
    if init.bert_video_layers:
        of_bert |= {"video_encoder"}
    if both := sorted(of_bert & set(top_level_names(init.modules, available))):
        raise InitializationError(
            f"init.bert and init.checkpoint both give {', '.join(both)}; leave them out of "
            f"--config.init.modules={','.join(init.modules)}, or say no init.bert."
        )


def initialize_with_bert(state: TrainState, bert: Bert) -> tuple[TrainState, Taken]:
    """`state` with the parameters of `bert`, laid out as they were; and what was taken.

    They become parameters, or constants where the text tower reads the BERT's vectors. Where the
    network has more rows of a leaf (pieces that pad the vocabulary, layers of the video tower), the
    others stay as they were. Raises InitializationError where a leaf does not fit.
    """
    frozen = state.constants.get("text_embedding", {}).get("bert")
    tree, within = (state.params, "") if frozen is None else (frozen, "text_embedding/bert/")
    own, given = manifest.named_leaves(tree), manifest.named_leaves(bert.params)
    leaves, partly = dict(own), {}
    for name, values in given.items():
        like = own.get(name)
        if like is None or like.shape[1:] != values.shape[1:] or len(like) < len(values):
            raise InitializationError(
                f"init.bert {bert.name}: {name} is {_form(values)}, {_form(like)} in the model; "
                "use the settings of that BERT."
            )
        if len(like) == len(values):
            leaves[name] = _placed(values, like)
            continue
        leaves[name] = _with_first_rows(like, values)
        in_stack = "/layers/" in name
        what = f"layers of {name.split('/')[0]}" if in_stack else f"rows of {within}{name}"
        partly[f"{len(values)} of {len(like)} {what}"] = None
    merged = jax.tree.unflatten(jax.tree.structure(tree), list(leaves.values()))
    if frozen is None:
        state = dataclasses.replace(state, params=merged)
    else:
        constants = state.constants | {"text_embedding": {"bert": merged}}
        state = dataclasses.replace(state, constants=constants)
    taken = tuple(within + name for name in given)
    fresh = tuple(name for name in manifest.named_leaves(state.params) if name not in taken)
    return state, Taken(taken, fresh, tuple(partly))


def _with_first_rows(like: jax.Array, values: np.ndarray) -> jax.Array:
    """`like` with its first rows replaced, by the devices, none of which may hold all of it."""
    update = jax.jit(jax.lax.dynamic_update_slice, out_shardings=like.sharding)
    return update(like, values.astype(like.dtype), (0,) * like.ndim)


def _form(leaf: Any) -> str:
    return "nothing" if leaf is None else f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _placed(values: Any, like: jax.Array) -> jax.Array:
    host = np.asarray(values)
    return jax.make_array_from_callback(host.shape, like.sharding, lambda index: host[index])
