"""What a checkpoint says about the data: enough to go on with the very same examples."""

import dataclasses
import fnmatch
from collections.abc import Collection, Sequence
from typing import Any

from videobert_jax import configuration
from videobert_jax.data.block import BlockBuilder
from videobert_jax.data.left_out import LeftOut, given_before
from videobert_jax.files import versions

_VERSION = 1
_PROGRESS = (
    "step",
    "stage_step",
    "position",
    "left_out",
)  # where the run is; all else is what it is a run of
# What of the rest may be another where one of these was let through; nothing else may.
_DECIDED_BY = {
    "seed": ("seed",),
    "stage": ("stages*", "training.num_steps"),
    "block_size": ("data.block_size",),
    "blocks_per_batch": ("data.blocks_per_batch",),
    "read_group": ("data.read_group",),
    "row.*": (
        "data.examples_per_row",
        "data.*_length",
        "data.masking.*",
        "data.content_words",
        "data.clip_labels",
        "model.*",
    ),
    "masking.*": ("data.masking.*",),
    "content_words": ("data.content_words",),
    "sources.*": ("dataset", "data.path", "data.local_copy", "data.sources.*"),
}


class DataStateError(ValueError):
    """A checkpoint that was made with other data, or data in another order."""


def data_state(
    builder: BlockBuilder,
    blocks_per_batch: int,
    step: int,
    *,
    stage: int = 0,
    first_step: int = 0,
    left_out: Sequence[LeftOut] = (),
) -> dict[str, Any]:
    """JSON object, a few hundred bytes, that with the run's config fixes every batch from `step`.

    builder, blocks_per_batch: of the stage that takes the step, of which first_step is the first.
    left_out: batches that it goes without, said where there are any before the step.
    position: examples that each source has given. Processes, devices and workers are not in it:
    they change nothing.
    """
    settings = builder.settings
    blocks = builder.blocks_given(given_before(left_out, first_step, step) * blocks_per_batch)
    gone = [list(each) for each in left_out if each.step < step]
    return {
        **({"left_out": gone} if gone else {}),
        "version": _VERSION,
        "step": step,
        "stage": stage,
        "stage_step": step - first_step,
        "position": [count * settings.block_size for count in blocks],
        "seed": settings.seed,
        "block_size": settings.block_size,
        "blocks_per_batch": blocks_per_batch,
        "read_group": settings.read_group,
        "row": dataclasses.asdict(settings.shape),
        "masking": dataclasses.asdict(settings.masking),
        "tokenizer": builder.tokenizer.digest,
        "content_words": None if builder.words is None else builder.words.digest,
        "sources": [
            {
                "split": source.split.name,
                "digest": source.split.digest,
                "transcripts": None if source.transcripts is None else source.transcripts.digest,
                "num_examples": len(source.split),
                "regime": source.regime,
                "weight": source.weight,
                **(
                    {}
                    if source.alignment is None
                    else {"alignment": source.alignment.digest, "kept": source.num_examples}
                ),
                "neighbours": None
                if near is None
                else {"digest": near.neighbours.digest, "window": near.window},
            }
            for source, near in zip(builder.sources, builder.near_orders, strict=True)
        ],
    }


def check_data_state(
    saved: dict[str, Any], current: dict[str, Any], allowed: Collection[str] = ()
) -> list[str]:
    """Raises DataStateError, naming each difference, unless `current` continues `saved`.

    allowed: settings, or "dataset", whose change is let through. Returns what was, in words.
    """
    if saved.get("version", _VERSION) > _VERSION:
        said = versions.refusal(saved["version"], _VERSION, "version")
        raise DataStateError(f"the checkpoint's data state is {said}")
    if "stage" not in saved:  # older than stages: a run was one
        saved = {**saved, "stage": 0, "stage_step": saved["step"]}
    through, refused = [], []
    for name, there, here in _differences(saved, current):
        through_now = any(
            fnmatch.fnmatchcase(name, part) and fnmatch.fnmatchcase(setting, pattern)
            for part, patterns in _DECIDED_BY.items()
            for pattern in patterns
            for setting in allowed
        )
        said = f"{name}: the checkpoint has {there!r}, this run has {here!r}"
        (through if through_now else refused).append(said)
    if refused:
        raise DataStateError(
            "the checkpoint was trained on other data, or in another order: "
            + "; ".join(refused)
            + ". Resume with the config and dataset it was made with, or start a new run from its "
            "weights with --config.init.checkpoint and another --workdir. --allow-change=dataset "
            "lets other digests of sources through."
        )
    positions = ({name: state.get(name) for name in _PROGRESS} for state in (saved, current))
    there, here = positions
    if there["step"] == here["step"] and there != here:
        if not through:
            raise DataStateError(
                f"the checkpoint is at {there} (positions are examples that each source has "
                f"given), this version of the program at {here}; resume with the version that made "
                "it."
            )
        through.append(
            f"the data goes on at {here['position']}, the checkpoint: {there['position']}"
        )
    return through


def _differences(saved: dict[str, Any], current: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, value there, value here) of what is not progress, by dotted name."""
    there, here = (
        configuration.flat_settings({k: v for k, v in state.items() if k not in _PROGRESS})
        for state in (saved, current)
    )
    return [
        (name, there.get(name), here.get(name))
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
