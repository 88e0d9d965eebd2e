"""What the examples of finished runs scored, as lines of a file that is kept where their folders
are not: so runs that are compared may be made over several days and on several machines."""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import alternate, kitchen_runs

Figures = Mapping[str, tuple[str, kitchen_runs.Score]]  # name -> its task, an example's score
Line = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class KeptScores:
    """Runs by name in the file `path`. A score is 0 or 1: its line has a bit for it, in the order
    of the examples, and the first line of the file has the videos that these are of."""

    path: pathlib.Path
    figures: Figures
    splits: Sequence[str] = kitchen_runs.TESTS

    def find(self, name: str, about: Mapping[str, Any]) -> Line | None:
        """The newest line of a run of that name whose settings are `about`, None where none is."""
        found = [line for line in self._lines() if line.get("run") == name]
        return next((line for line in reversed(found) if line["about"] == about), None)

    def add(self, name: str, about: Mapping[str, Any], workdir: pathlib.Path, **told: Any) -> Line:
        """The line of a run, which is appended. told: what else it is to have.

        Raises BenchmarkError where its examples are not those of the other runs, and ValueError
        where a score is neither 0 nor 1.
        """
        bits: dict[str, dict[str, str]] = {}
        videos: dict[str, dict[str, list[Any]]] = {}
        for figure, (task, score) in self.figures.items():
            for split in self.splits:
                values, of = kitchen_runs.mean_scores(score, task, split, [workdir])
                bits.setdefault(figure, {})[split] = _packed(values)
                grouped = [[video, len(list(each))] for video, each in itertools.groupby(of)]
                videos.setdefault(figure, {})[split] = grouped
        before = self._lines()
        if before and before[0]["videos"] != videos:
            raise alternate.BenchmarkError(
                f"{workdir} was evaluated on other examples than the runs in {self.path}; remove "
                "that file, or name another with --scores."
            )
        line = {"run": name, "about": dict(about), "commit": alternate.commit(), **told}
        line["bits"] = bits
        with open(self.path, "a", encoding="utf-8") as file:
            for each in ([] if before else [{"videos": videos}]) + [line]:
                file.write(json.dumps(each) + "\n")
        return line

    def means(
        self, figure: str, runs: Sequence[Line], splits: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(mean score over the runs of every example of `splits` that has one, its video)."""
        grouped = self._lines()[0]["videos"][figure]
        videos = {s: [video for video, count in grouped[s] for _ in range(count)] for s in splits}
        rows = [
            np.concatenate([_unpacked(run["bits"][figure][s], len(videos[s])) for s in splits])
            for run in runs
        ]
        return np.mean(rows, axis=0), np.array([video for s in splits for video in videos[s]])

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        return _parsed(self.path.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=2)
def _parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _packed(values: np.ndarray) -> str:
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(f"scores are to be 0 or 1, not {sorted(set(values.tolist()))[:5]}.")
    return np.packbits(values.astype(bool)).tobytes().hex()


def _unpacked(text: str, count: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=count).astype(float)
