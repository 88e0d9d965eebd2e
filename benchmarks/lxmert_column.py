"""LXMERT beside our network in every task of the embedded corpus: tuned, trained, measured.

A stage has `TRIALS`: learning rates of seed 0, of which that with the best figure on `validation`
is taken for all seeds. Everything is kept in a folder, and what is there is not run again.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import kitchen_runs, lxmert_runs, lxmert_tasks
from benchmarks.lxmert_kitchen import Corpus
from videobert_jax.data import index
from videobert_jax.files import atomic

NAME = "lxmert"
TRIALS = (1 / 3, 1.0, 3.0)  # learning rates, by that of our network's config
VALIDATION = "validation"
PRETRAINED = "pretrained"
_KINDS = ("verb", "object", "container")
# (stage, task) that it is not asked, with the reason
NOT_RUN = {
    ("captioning", "captioning"): "LXMERT has no decoder: it writes no text",
    (PRETRAINED, "action_segmentation"): (
        "LXMERT has no joint space: its matching head would read each of 252 sentences with each "
        "clip of the training split to choose the threshold of background, 1.2 million pairs"
    ),
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A training run of LXMERT: our network's config and dataset, and what is measured of it.

    tasks: each with the dataset that it is measured on. chosen_by: (task, figure) whose mean on
    `VALIDATION` chooses the learning rate.
    """

    config: str
    dataset: str
    tasks: Mapping[str, str]
    chosen_by: tuple[tuple[str, str], ...]

    @property
    def tasks_tuned(self) -> list[str]:
        """Those that choose."""
        return list(dict.fromkeys(task for task, _ in self.chosen_by))


STAGES = {
    PRETRAINED: Stage(
        "configs/kitchen.py",
        "kitchen",
        {
            "zero_shot_classification": "kitchen",
            "linear_probe": "kitchen",
            "retrieval": "kitchen",
            "step_localization": "kitchen",
            "multiple_choice": "kitchen_qa",
        },
        (
            *(("zero_shot_classification", f"{kind}_top1") for kind in _KINDS),
            ("retrieval", "text_to_video_R1"),
            ("retrieval", "video_to_text_R1"),
        ),
    ),
    "qa": Stage(
        "configs/kitchen_qa.py",
        "kitchen_qa",
        {"question_answering": "kitchen_qa"},
        (("question_answering", "accuracy"),),
    ),
    "localization": Stage(
        "configs/kitchen_localization.py",
        "kitchen",
        {"step_localization": "kitchen"},
        (("step_localization", "average_recall"),),
    ),
    "segmentation": Stage(
        "configs/kitchen_segmentation.py",
        "kitchen",
        {"action_segmentation": "kitchen"},
        (("action_segmentation", "frame_accuracy"),),
    ),
}


def by_stage(seeds: Iterable[Mapping[str, pathlib.Path]]) -> dict[str, list[pathlib.Path]]:
    """Stage -> its run of each seed, of those of every seed."""
    found: dict[str, list[pathlib.Path]] = {name: [] for name in STAGES}
    for of_seed in seeds:
        for name, run in of_seed.items():
            found[name].append(run)
    return found


@dataclasses.dataclass(frozen=True)
class Column:
    """All runs of LXMERT: under `workdir`, of the datasets in the folder `data`.

    settings: of all configs, but what they say. limit: of the first examples of every split alone.
    """

    data: pathlib.Path
    workdir: pathlib.Path
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    splits: Sequence[str] = kitchen_runs.TESTS

    def run_seed(self, seed: int) -> dict[str, pathlib.Path]:
        """Stage -> its run of a seed, trained and measured on the splits."""
        found: dict[str, pathlib.Path] = {}
        for name in STAGES:
            chosen = self._tuned(name, found)
            found[name] = self._trained(name, seed, chosen, found.get(PRETRAINED))
            for split in self.splits:
                self._measure(name, found[name], seed, split, list(STAGES[name].tasks))
        return found

    def describe(self, runs: Mapping[str, Sequence[pathlib.Path]]) -> dict[str, Any]:
        """What the record of the benchmark says of them."""
        return {
            name: {
                **json.loads(self._choice(name).read_text(encoding="utf-8")),
                "runs": [lxmert_runs.described(run) for run in of],
            }
            for name, of in runs.items()
        }

    def _choice(self, stage: str) -> pathlib.Path:
        return self.workdir / f"{stage}.json"

    def _tuned(self, stage: str, found: Mapping[str, pathlib.Path]) -> float:
        """The learning rate of a stage. Its trials begin with the pretrained run of seed 0, which
        is the first that is trained; a later seed finds the choice made."""
        if self._choice(stage).is_file():
            return json.loads(self._choice(stage).read_text(encoding="utf-8"))["learning_rate"]
        own = self._corpus(stage, 0).run.optimizer.learning_rate
        figures = {}
        for factor in TRIALS:
            run = self._trained(stage, 0, factor * own, found.get(PRETRAINED))
            self._measure(stage, run, 0, VALIDATION, STAGES[stage].tasks_tuned)
            figures[factor * own] = float(
                np.mean(
                    [
                        kitchen_runs.record(run, task, VALIDATION)["metrics"][figure]
                        for task, figure in STAGES[stage].chosen_by
                    ]
                )
            )
            print(f"{run.name}: {figures[factor * own]:.4f} on {VALIDATION}", flush=True)
        chosen = max(figures, key=lambda rate: figures[rate])
        trials = [{"learning_rate": rate, VALIDATION: of} for rate, of in figures.items()]
        atomic.write_json(self._choice(stage), {"learning_rate": chosen, "trials": trials})
        return chosen

    def _trained(
        self, stage: str, seed: int, learning_rate: float, begins_with: pathlib.Path | None
    ) -> pathlib.Path:
        run = self.workdir / f"{stage}-{seed}-lr{learning_rate:.3g}"
        if not lxmert_runs.weights_file(run).is_file():
            corpus = self._corpus(stage, seed)
            lxmert_runs.train(run, corpus, stage, learning_rate, begins_with)
        return run

    def _corpus(self, stage: str, seed: int) -> Corpus:
        of = STAGES[stage]
        return Corpus.open(
            str(kitchen_runs.ROOT / of.config),
            self.data / of.dataset,
            self.workdir / "tokenizer.model",
            {"seed": seed, **self.settings},
        )

    def _measure(
        self, stage: str, run: pathlib.Path, seed: int, split: str, tasks: Sequence[str]
    ) -> None:
        outputs = {task: kitchen_runs.record_file(run, task, split) for task in tasks}
        missing = [task for task, output in outputs.items() if not output.is_file()]
        if not missing:
            return
        corpus = self._corpus(stage, seed)
        for task in missing:
            dataset = index.open_dataset(self.data / STAGES[stage].tasks[task])
            lxmert_tasks.measure(
                task, run, stage, corpus, dataset, split, outputs[task], self.limit
            )
