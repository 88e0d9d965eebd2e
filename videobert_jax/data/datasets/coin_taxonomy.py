"""COIN's taxonomy (Tang et al. 2019, section 3): 12 domains, 180 tasks, 778 steps."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from videobert_jax.data import index
from videobert_jax.files import spreadsheets
from videobert_jax.files.errors import ArrayFileError

_DOMAINS = ("domain_target_mapping", {"A": "Domains", "B": "Targets"})
_STEPS = (
    "target_action_mapping",
    {"A": "Target Id", "B": "Target Label", "C": "Action Id", "D": "Action Label"},
)
_NAMED = 3  # contradictions that a message lists
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z]+")


@dataclasses.dataclass(frozen=True)
class Taxonomy:
    """domains: task -> its domain. steps: id -> (task, label)."""

    path: pathlib.Path
    domains: Mapping[str, str]
    steps: Mapping[str, tuple[str, str]]

    def surface_forms(self) -> dict[str, dict[str, list[str]]]:
        """How tasks and steps are said: kind of label -> name -> its forms."""
        return {
            "task": {task: [in_words(task)] for task in self.domains},
            "step": {step: [label] for step, (_, label) in self.steps.items()},
        }

    def check(self, database: Mapping[str, Any]) -> None:
        """Raises DatasetError where videos of COIN.json are of other tasks or steps than these."""
        if found := [text for name, video in database.items() for text in self._wrong(name, video)]:
            listed = "; ".join(found[:_NAMED]) + ("; ..." if len(found) > _NAMED else "")
            raise index.DatasetError(
                f"{self.path}: COIN.json contradicts it {len(found)} times: {listed}. Give the "
                "taxonomy of the same release, or leave --taxonomy out"
            )

    def _wrong(self, name: str, video: Mapping[str, Any]) -> Iterable[str]:
        task = str(video.get("class"))
        if task not in self.domains:
            yield f"{name} is of the task {task!r}, which it does not have"
            return
        for step in video.get("annotation", []):
            number, label = str(step.get("id")), str(step.get("label"))
            of_task, expected = self.steps.get(number, ("", ""))
            if of_task != task or _plain(label) != _plain(expected):
                there = f"{of_task}, {expected!r}" if of_task else "not there"
                yield f"{name} has step {number} of {task}, {label!r}, which is {there}"


def read(path: pathlib.Path) -> Taxonomy:
    """The official taxonomy.xlsx. Raises DatasetError on another form."""
    try:
        sheets = spreadsheets.read_xlsx(path)
    except ArrayFileError as error:
        raise index.DatasetError(str(error)) from error
    domains = {row["B"].strip(): row["A"].strip() for row in _rows(path, sheets, *_DOMAINS)}
    steps = {
        row["C"].strip(): (row["B"].strip(), row["D"].strip())
        for row in _rows(path, sheets, *_STEPS)
    }
    if strange := sorted({task for task, _ in steps.values()} - set(domains)):
        raise index.DatasetError(
            f"{path}: steps of {strange[0]!r}, which has no domain; fetch it anew"
        )
    return Taxonomy(path, domains, steps)


def in_words(task: str) -> str:
    """A task's name as one says it: "PerformCPR" is "perform cpr"."""
    return " ".join(_WORD.findall(task)).lower()


def _rows(
    path: pathlib.Path,
    sheets: Mapping[str, list[spreadsheets.Row]],
    name: str,
    columns: Mapping[str, str],
) -> list[spreadsheets.Row]:
    head, *rows = sheets.get(name) or [{}]
    if not rows or {column: head.get(column, "").strip() for column in columns} != columns:
        found = ", ".join(head.values()) if head else f"the sheets {', '.join(sheets)}"
        raise index.DatasetError(
            f"{path}: {found}; expected a sheet {name} with the columns "
            f"{', '.join(columns.values())}"
        )
    for number, row in enumerate(rows, start=2):
        if row and not set(columns) <= set(row):
            raise index.DatasetError(f"{path}: {name}: row {number} is incomplete; fetch it anew")
    return [row for row in rows if row]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
