"""What is true of a drawn video: captions in one form, and questions with their answers.

Labels, intervals and order of the steps are the segments of a dataset; what else can be asked of a
video stands here, for every later task to be measured on.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from videobert_jax.kitchen.assets import StepRecord

# Where a verb's object goes; that of any other lies in the container.
_PREPOSITIONS = {"pour": "into", "add": "into", "sprinkle": "over", "spread": "on"}
_FLAT = ("board", "plate")  # things lie on these, and in the others


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about the seconds `start` to `end` of a video; answers are of a closed list.

    kind: verb, object, container, tool: of one step; next, before: the step that follows or
    precedes another, over the whole video; count: how many steps; exists: yes or no.
    """

    kind: str
    start: float
    end: float
    question: str
    answer: str


def caption(step: StepRecord) -> str:
    """The step in the corpus's one form: "slice the carrot on the board"."""
    return f"{action(step)} {_place(step.verb, step.container)}"


def action(step: StepRecord) -> str:
    """What is done to what: "slice the carrot"."""
    return f"{step.verb} the {step.object}"


def _place(verb: str, container: str) -> str:
    preposition = _PREPOSITIONS.get(verb, "in")
    if container in _FLAT and preposition in ("in", "into"):
        preposition = "onto" if preposition == "into" else "on"
    return f"{preposition} the {container}"


def questions(
    steps: Sequence[StepRecord], seconds: float, objects: Sequence[str]
) -> list[Question]:
    """Every question about a video of `seconds` that has one answer; `objects` may be asked for."""
    asked = [question for step in steps for question in _about_step(step)]
    actions = [action(step) for step in steps]
    for first, second in zip(actions, actions[1:], strict=False):
        asked.append(Question("next", 0.0, seconds, f"what comes after we {first}", second))
        asked.append(Question("before", 0.0, seconds, f"what comes before we {second}", first))
    asked.append(Question("count", 0.0, seconds, "how many steps are there", str(len(steps))))
    present = {step.object for step in steps}
    for name in objects:
        answer = "yes" if name in present else "no"
        asked.append(Question("exists", 0.0, seconds, f"is there any {name}", answer))
    return asked


def _about_step(step: StepRecord) -> list[Question]:
    place = _place(step.verb, step.container)
    pairs = (
        ("verb", f"what is done to the {step.object} {place}", step.verb),
        ("object", f"what do we {step.verb} {place}", step.object),
        ("container", f"where do we {action(step)}", step.container),
        ("tool", f"what do we use to {action(step)}", step.tool.replace("_", " ")),
    )
    return [Question(kind, step.start, step.end, asked, answer) for kind, asked, answer in pairs]


def annotations(
    name: str, steps: Sequence[StepRecord], seconds: float, objects: Sequence[str]
) -> dict[str, Any]:
    """A video's line in a dataset's annotations.

    `steps` in order, with labels, tool, caption and sentence; `boundaries` in seconds, where a
    step begins or ends; `questions` as in `Question`.
    """
    return {
        "video": name,
        "seconds": seconds,
        "steps": [{**dataclasses.asdict(step), "caption": caption(step)} for step in steps],
        "boundaries": [edge for step in steps for edge in (step.start, step.end)],
        "questions": [dataclasses.asdict(asked) for asked in questions(steps, seconds, objects)],
    }
