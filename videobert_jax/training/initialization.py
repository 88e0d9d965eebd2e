"""A new run that begins with the parameters of another one, whole or module by module, or with a
published BERT."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np

from videobert_jax.models.bundle import ModelBundle
from videobert_jax.schema import FeatureContract
from videobert_jax.training import manifest
from videobert_jax.training.config import InitConfig
from videobert_jax.training.state import TrainState
from videobert_jax.weights.bert import Bert

# Names for init.modules beside those of the parameters' own top level.
GROUPS: dict[str, tuple[str, ...]] = {
    "text_tower": ("text_embedding", "text_encoder"),
    "video_tower": ("video_embedding", "video_encoder"),
    "heads": (
        "masked_language_head",
        "masked_video_head",
        "pooler",
        "matching_head",
        "joint_head",
        "bag_of_words_head",
    ),
}
OPTIONAL = {"bag_of_words_head"}  # of a group, where the model has it
# Parts whose parameters mean something only with the tokenizer, or the features, they learnt from.
OF_TOKENIZER = {"text_embedding", "masked_language_head", "bag_of_words_head"}
OF_FEATURES = {"video_embedding", "masked_video_head"}
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
    found: set[str] = set()
    for module in modules:
        names = set(GROUPS.get(module, (module,)))
        if module in GROUPS:
            names -= OPTIONAL - set(available)
        if not names <= set(available):
            raise InitializationError(
                f"init.modules names {module!r}; the model has the groups {', '.join(GROUPS)} and "
                f"the modules {', '.join(sorted(available))}."
            )
        found |= names
    return sorted(found)


def takes_text(modules: Sequence[str], available: Sequence[str]) -> bool:
    """Whether `init.modules` names parts that mean something only with their own tokenizer.

    Raises InitializationError as `top_level_names` does.
    """
    return bool(OF_TOKENIZER & set(top_level_names(modules, available)))


def require_compatible(
    bundle: ModelBundle,
    names: Sequence[str],
    *,
    tokenizer_digest: str,
    bundle_tokenizer_digest: str,
    contract: FeatureContract,
) -> None:
    """Raises InitializationError, ContractMismatch where parameters would be read with another
    tokenizer, or fed other features, than they learnt from."""
    if OF_TOKENIZER & set(names) and tokenizer_digest != bundle_tokenizer_digest:
        raise InitializationError(
            f"init.checkpoint {bundle.name} has the tokenizer {bundle_tokenizer_digest[:12]}, this "
            f"workdir {tokenizer_digest[:12]}: its piece ids would mean other words. Use a new "
            "--workdir, which takes the tokenizer over, or leave the text out of init.modules."
        )
    if OF_FEATURES & set(names):
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
    own = manifest.named_leaves(state.params)
    given = manifest.named_leaves(bundle.variables["params"])
    names = set(top_level_names(modules, sorted({name.split("/")[0] for name in own})))
    wanted = [name for name in own if name.split("/")[0] in names]
    problems = [
        f"{name}: {_form(given.get(name))} in the checkpoint, {_form(own[name])} in the model"
        for name in wanted
        if _form(given.get(name)) != _form(own[name])
    ]
    problems += [
        f"{name}: only the checkpoint has it"
        for name in given
        if name.split("/")[0] in names and name not in own
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InitializationError(
            f"init.checkpoint {bundle.name} does not match the model: "
            f"{'; '.join(problems[:_SHOWN])}{more}. Use the model settings it was made with, or "
            f"name what to take: --config.init.modules=text_tower,video_tower."
        )
    params = {name: _placed(given[name], own[name]) for name in wanted}
    merged_leaves = [params.get(name, leaf) for name, leaf in own.items()]
    given_constants = bundle.variables["constants"]
    constants = {
        module: jax.tree.map(_placed, given_constants[module], leaves)
        if module in names & set(given_constants)
        else leaves
        for module, leaves in state.constants.items()
    }
    fresh = tuple(name for name in own if name not in params)
    merged = jax.tree.unflatten(jax.tree.structure(state.params), merged_leaves)
    return (
        dataclasses.replace(state, params=merged, constants=constants),
        Taken(tuple(wanted), fresh, ()),
    )


def require_apart(init: InitConfig, available: Sequence[str]) -> None:
    """Raises InitializationError where init.checkpoint gives what init.bert gives too, or what
    means something only with the checkpoint's own tokenizer."""
    of_bert = OF_TOKENIZER | {"text_encoder"}
    if init.bert_video_layers:
        of_bert |= {"video_encoder"}
    if both := sorted(of_bert & set(top_level_names(init.modules, available))):
        raise InitializationError(
            f"init.bert and init.checkpoint both give {', '.join(both)}; leave them out of "
            f"--config.init.modules={','.join(init.modules)}, or say no init.bert."
        )


def initialize_with_bert(state: TrainState, bert: Bert) -> tuple[TrainState, Taken]:
    """`state` with the parameters of `bert`, laid out as they were; and what was taken.

    Where the network has more rows of a leaf (pieces that pad the vocabulary, layers of the video
    tower), the others stay random. Raises InitializationError where a leaf does not fit.
    """
    own, given = manifest.named_leaves(state.params), manifest.named_leaves(bert.params)
    params, partly = dict(own), {}
    for name, values in given.items():
        like = own.get(name)
        if like is None or like.shape[1:] != values.shape[1:] or len(like) < len(values):
            raise InitializationError(
                f"init.bert {bert.name}: {name} is {_form(values)}, {_form(like)} in the model; "
                "use the settings of that BERT."
            )
        if len(like) == len(values):
            params[name] = _placed(values, like)
            continue
        params[name] = _with_first_rows(like, values)
        in_stack = "/layers/" in name
        what = f"layers of {name.split('/')[0]}" if in_stack else f"rows of {name}"
        partly[f"{len(values)} of {len(like)} {what}"] = None
    merged = jax.tree.unflatten(jax.tree.structure(state.params), list(params.values()))
    fresh = tuple(name for name in own if name not in given)
    return (
        dataclasses.replace(state, params=merged),
        Taken(tuple(given), fresh, tuple(partly)),
    )


def _with_first_rows(like: jax.Array, values: np.ndarray) -> jax.Array:
    """`like` with its first rows replaced, by the devices, none of which may hold all of it."""
    update = jax.jit(jax.lax.dynamic_update_slice, out_shardings=like.sharding)
    return update(like, values.astype(like.dtype), (0,) * like.ndim)


def _form(leaf: Any) -> str:
    return "nothing" if leaf is None else f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _placed(values: Any, like: jax.Array) -> jax.Array:
    host = np.asarray(values)
    return jax.make_array_from_callback(host.shape, like.sharding, lambda index: host[index])
