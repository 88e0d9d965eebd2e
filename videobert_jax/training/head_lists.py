"""What heads with a list tell, by number: answers to questions, and what clips show."""

import dataclasses
from collections.abc import Sequence

from videobert_jax.configuration import RunConfig
from videobert_jax.data import answers, clip_labels, index
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import initialization


class InputError(ValueError):
    """A run without data."""


@dataclasses.dataclass(frozen=True)
class HeadLists:
    """Names by number; () without the head."""

    answers: tuple[str, ...]
    clip_labels: tuple[str, ...]

    @classmethod
    def of_run(
        cls, run: RunConfig, splits: Sequence[index.Split], initial: ModelBundle | None
    ) -> "HeadLists":
        """Those of a run that begins on these splits, one a source, perhaps with the parameters
        `initial`. Raises InputError, InitializationError."""
        return cls(_answers(run, splits, initial), _clip_labels(run, splits, initial))


def _answers(
    run: RunConfig, splits: Sequence[index.Split], initial: ModelBundle | None
) -> tuple[str, ...]:
    """Those that the answer head tells: of init.checkpoint, where its head is taken over, else the
    most frequent of the training splits. Raises InputError where those have none, or none that
    init.checkpoint tells."""
    if not run.model.answers:
        return ()
    asked = [
        split
        for split, source in zip(splits, run.data.sources, strict=True)
        if source.shows_captions
    ]
    if initial is not None and _takes_over(run, initial, "answer_head", "answers"):
        _require_known(run, "answering", asked, answers.most_frequent(asked), initial.answers)
        return initial.answers
    if found := answers.most_frequent(asked, run.model.answers):
        return found
    raise InputError(
        f"model.answers={run.model.answers}, but no source has questions as its texts: none of the "
        f"splits {', '.join(split.name for split in splits)} has labels of the kind "
        f"{answers.KIND!r}; train on a dataset of questions, or set it to 0."
    )


def _clip_labels(
    run: RunConfig, splits: Sequence[index.Split], initial: ModelBundle | None
) -> tuple[str, ...]:
    """Those that the head of clips' labels tells: of init.checkpoint, where its head is taken over,
    else all of the training splits. Raises InputError where there are fewer or more, or none that
    init.checkpoint tells."""
    if not run.model.clip_labels:
        return ()
    shown = [
        split
        for split, source in zip(splits, run.data.sources, strict=True)
        if source.regime != "text_only"
    ]
    found = clip_labels.names(shown, run.data.clip_labels)
    if initial is not None and _takes_over(run, initial, "clip_label_head", "clip_labels"):
        if (kind := initial.data.clip_labels) != run.data.clip_labels:
            raise InputError(
                f"data.clip_labels={run.data.clip_labels!r}, but the clip_label_head of "
                f"init.checkpoint {initial.name} tells labels of the kind {kind!r}; set it to "
                "that, or leave the head out of init.modules."
            )
        _require_known(run, "segmentation", shown, found, initial.clip_labels)
        return initial.clip_labels
    if len(found) != run.model.clip_labels:
        raise InputError(
            f"model.clip_labels={run.model.clip_labels}, but the splits "
            f"{', '.join(split.name for split in shown)} have {len(found)} labels of the kind "
            f"data.clip_labels={run.data.clip_labels!r}; set it to that, or name another kind."
        )
    return found


def _takes_over(run: RunConfig, initial: ModelBundle, head: str, size: str) -> bool:
    """Whether a head of init.checkpoint is the run's; InputError where it has another size."""
    available = sorted(initial.variables["params"])
    if head not in initialization.top_level_names(run.init.modules, available):
        return False
    wanted, found = getattr(run.model, size), getattr(initial.config, size)
    if found != wanted:
        raise InputError(
            f"model.{size}={wanted}, but the {head} of init.checkpoint {initial.name} tells "
            f"{found}; set it to that, or leave the head out of init.modules."
        )
    return True


def _require_known(
    run: RunConfig,
    objective: str,
    splits: Sequence[index.Split],
    found: Sequence[str],
    told: Sequence[str],
) -> None:
    """Raises InputError where an objective of the run could learn none of what its head tells."""
    learns = any(stage.objectives.weights()[objective] > 0 for stage in run.in_stages().values())
    if learns and not set(found) & set(told):
        raise InputError(
            f"objectives.{objective}: the head of init.checkpoint tells {', '.join(told[:3])} and "
            f"others, of which the splits {', '.join(split.name for split in splits)} have none; "
            "train on a dataset that has some, or leave the head out of init.modules."
        )
