"""The best and the worst examples of a record: what was asked, what was said, what is right."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax.report_page.markup import Markup, tag
from videobert_jax.report_page.plots import WAYS, told_label
from videobert_jax.tasks.metrics.statistic import Statistic

Line = Mapping[str, Any]
Row = tuple[str, str | Markup]  # what, and what of it


@dataclasses.dataclass(frozen=True)
class Case:
    """An example: its line, a text that stands over it, rows of what was said, and the line of
    another example that was found in its place."""

    line: Line
    text: str
    rows: Sequence[Row]
    found: Line | None = None


@dataclasses.dataclass(frozen=True)
class _Task:
    """score: of a line, higher for a better one, or None. case: of a line among all by id."""

    score: Callable[[Line], float | None]
    case: Callable[[Line, Mapping[int, Line]], Case]


def best_and_worst(
    record: Mapping[str, Any], lines: Sequence[Line], count: int
) -> tuple[list[Case], list[Case]]:
    """The `count` best and worst examples, none of them both, as far as lines have a score.

    Among equals the best are those that baselines find hardest, the worst those they find easiest.
    """
    task = _TASKS.get(record["task"]) or _other_task(record)
    scored = [(score, line) for line in lines if (score := task.score(line)) is not None]
    order = sorted(scored, key=lambda of: (-of[0], _by_baselines(task, of[1])))
    kept = min(count, len(order) // 2)
    known = {int(line["example_id"]): line for line in lines}
    best = [task.case(line, known) for _, line in order[:kept]]
    worst = [task.case(line, known) for _, line in order[::-1][:kept]]
    return best, worst


def _by_baselines(task: _Task, line: Line) -> float:
    """How well baselines do on an example, as far as their part of the line tells."""
    found = [task.score(of) for of in line.get("baselines", {}).values()]
    known = [score for score in found if score is not None]
    return float(np.mean(known)) if known else 0.0


def _retrieval_score(line: Line) -> float | None:
    """Less the mean rank of both ways."""
    ranks = [line[key] for way in WAYS if (key := f"{way}_rank") in line]
    return -float(np.mean(ranks)) if ranks else None


def _retrieval(line: Line, known: Mapping[int, Line]) -> Case:
    rows: list[Row] = []
    for way, said in zip(WAYS, ("its clip", "its text"), strict=True):
        rank = line.get(f"{way}_rank")
        if rank is not None:
            again = line.get(f"reranked_{way}_rank")
            after = f", re-ranked {again:g}" if again is not None else ""
            rows.append((said, _judged(f"found as number {rank:g}{after}", rank == 1)))
    found = line.get("found", {})
    first = known.get(found.get(WAYS[0]))
    other = None if first is line else first
    if other is not None:
        rows.append(("clip found first", f"of \u201c{other['text']}\u201d"))
    text = known.get(found.get(WAYS[1]))
    if text is not None and text is not line:
        rows.append(("text found first", f"\u201c{text['text']}\u201d"))
    return Case(line, line["text"], rows, other)


def _labels_score(line: Line) -> float | None:
    """Less the mean rank of the right labels; of a baseline by its ranks of each kind."""
    ranks = [
        of.get("with_video", of).get("rank") if isinstance(of, Mapping) else of
        for key, of in line.items()
        if key.endswith("_rank") or told_label(of)
    ]
    return -float(np.mean(ranks)) if ranks else None


def _labels(line: Line, known: Mapping[int, Line]) -> Case:
    rows: list[Row] = []
    for kind, of in line.items():
        told = told_label(of)
        if told is None:
            continue
        rank = of.get("with_video", of)["rank"]
        own = of.get("labels", [of["label"]])
        said = _judged(f"told \u201c{told}\u201d", told in own)
        right = "" if told in own else f"; right is \u201c{', '.join(own)}\u201d, at {rank:g}"
        without = of.get("without_video")
        blind = f"; without video \u201c{without['best']}\u201d" if without else ""
        rows.append((kind, tag("span", said, right, blind)))
    return Case(line, line.get("text", ""), rows)


def _caption_score(line: Line) -> float | None:
    return line.get("CIDEr_D", line.get("ROUGE_L"))


def _caption(line: Line, known: Mapping[int, Line]) -> Case:
    references = line["references"]
    said = line["caption"]
    rows: list[Row] = [("said", _judged(f"\u201c{said}\u201d", said in references))]
    rows += [("right", f"\u201c{reference}\u201d") for reference in references[:3]]
    if "CIDEr_D" in line:
        rows.append(("scores", f"CIDEr-D {line['CIDEr_D']:.2f}, ROUGE-L {line['ROUGE_L']:.2f}"))
    for name, of in line.get("baselines", {}).items():
        if "caption" in of:
            rows.append((name, f"\u201c{of['caption']}\u201d"))
    return Case(line, "", rows)


def _other_task(record: Mapping[str, Any]) -> _Task:
    """Of a task without functions of its own: by its first figure that lines tell, with all that
    they say in words and numbers."""
    stated = record.get("statistics", {})
    first = next((Statistic.from_json(of) for of in stated.values()), None)

    def score(line: Line) -> float | None:
        values, _ = first.read([line]) if first is not None else (np.zeros(0), None)
        return float(values[0]) if len(values) else None

    def case(line: Line, known: Mapping[int, Line]) -> Case:
        where = {"example_id", "video", "start", "end", "text", "baselines"}
        rows = [row for key, of in line.items() if key not in where for row in _flat(key, of)]
        return Case(line, str(line.get("text", "")), rows)

    return _Task(score, case)


def _flat(name: str, value: Any) -> list[Row]:
    if isinstance(value, Mapping):
        return [row for key, of in value.items() for row in _flat(f"{name} {key}", of)]
    if isinstance(value, list):
        return [(name, ", ".join(map(_said, value)))] if value else []
    return [(name, _said(value))]


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _judged(text: str, right: bool) -> Markup:
    """Text that says by sign and colour whether it is right."""
    sign = "\u2713" if right else "\u2717"
    return tag("span", f"{sign} {text}", class_="right" if right else "wrong")


_TASKS = {
    "retrieval": _Task(_retrieval_score, _retrieval),
    "zero_shot_classification": _Task(_labels_score, _labels),
    "fill_mask": _Task(_labels_score, _labels),
    "captioning": _Task(_caption_score, _caption),
}
