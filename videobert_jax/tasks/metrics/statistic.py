"""How a figure is read off the lines of its examples, so that it can be had again from them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import bleu, bootstrap, meteor, randomisation

MEAN, MEDIAN = "mean", "median"
Figure = Callable[[np.ndarray], np.ndarray]  # of sums over lines: [d, k] -> [d]


def _of_order(place: int) -> Figure:
    return lambda sums: bleu.of_sums(sums)[:, place]


SUMS = {  # kind -> its figure
    **{name: _of_order(place) for place, name in enumerate(bleu.NAMES)},
    meteor.NAME: meteor.of_sums,
}


@dataclasses.dataclass(frozen=True)
class Statistic:
    """Mean or median over the lines that have a number at `path`, keys from the outermost; or, of a
    kind of SUMS, its figure of the sums of the numbers that each line has there.

    at_most: of a share, the number up to which a line counts 1, else 0; None: its number itself.
    misses: examples without a line, which count 0 in a mean. weight: keys to what a line counts in
    a mean, () where all count alike.
    """

    path: tuple[str, ...]
    kind: str
    at_most: float | None
    misses: int
    weight: tuple[str, ...]

    @classmethod
    def mean(cls, *path: str, weight: tuple[str, ...] = ()) -> "Statistic":
        return cls(path, MEAN, None, 0, weight)

    @classmethod
    def median(cls, *path: str) -> "Statistic":
        return cls(path, MEDIAN, None, 0, ())

    @classmethod
    def share(cls, *path: str, at_most: int) -> "Statistic":
        return cls(path, MEAN, float(at_most), 0, ())

    @classmethod
    def of_sums(cls, kind: str, *path: str) -> "Statistic":
        return cls(path, kind, None, 0, ())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Statistic":
        """Raises EvaluationError on a kind that there is not."""
        weight = tuple(value.get("weight", ()))  # younger than some records
        if value["kind"] not in (MEAN, MEDIAN, *SUMS):
            raise EvaluationError(
                f"a figure of kind {value['kind']!r}; expected {MEAN}, {MEDIAN}, "
                f"{', '.join(SUMS)}; read it with the version that wrote it."
            )
        return cls(tuple(value["path"]), value["kind"], value["at_most"], value["misses"], weight)

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "path": list(self.path), "weight": list(self.weight)}

    def read(self, lines: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """(values float64 [n], of SUMS [n, k], their lines int64 [n]) of lines that have one."""
        found = [(n, row) for row, line in enumerate(lines) if (n := _number(line, self.path))]
        values = np.array([number[0] for number, _ in found], np.float64)
        rows = np.array([row for _, row in found], np.int64)
        return (values if self.at_most is None else 1.0 * (values <= self.at_most)), rows

    def weights(
        self, lines: Sequence[Mapping[str, Any]], rows: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """What each of the lines at `rows` counts, on average 1. Raises EvaluationError where one
        has no weight."""
        found = [_number(lines[row], self.weight) for row in rows.tolist() if self.weight]
        if None in found:
            raise EvaluationError(
                f"line {int(rows[found.index(None)])} has {'.'.join(self.path)} without its "
                f"weight, {'.'.join(self.weight)}; evaluate again."
            )
        weights = np.array([of[0] for of in found if of]) if self.weight else np.ones(len(rows))
        return weights / weights.mean() if len(weights) else weights

    def of(
        self,
        values: Float[np.ndarray, "d n ..."],
        weights: Float[np.ndarray, " n"],
    ) -> Float[np.ndarray, " d"]:
        """The figure of each row of values."""
        if self.kind in SUMS:
            return SUMS[self.kind](values.sum(axis=1))
        if self.kind == MEDIAN:
            return np.median(values, axis=1)
        return self._with_misses((values * weights[None]).mean(axis=1), values.shape[1])

    def of_draws(
        self,
        values: Float[np.ndarray, "n ..."],
        weights: Float[np.ndarray, " n"],
        drawn: Float[np.ndarray, "d n"],
    ) -> Float[np.ndarray, " d"]:
        """The figure of each draw of the bootstrap; the share of misses is as it is."""
        if self.kind in SUMS:
            return SUMS[self.kind](drawn @ values)
        if self.kind == MEDIAN:
            return bootstrap.medians(values, drawn)
        return self._with_misses(bootstrap.means(values, drawn * weights[None]), len(values))

    def p_value(
        self,
        first: Float[np.ndarray, "n ..."],
        second: Float[np.ndarray, "n ..."],
        weights: Float[np.ndarray, " n"],
        groups: Sequence[str],
        *,
        seed: int,
    ) -> float:
        """Of the difference between two systems on the same examples, by `randomisation`."""
        names = np.asarray(groups)
        if self.kind in SUMS:
            figure = SUMS[self.kind]
            return randomisation.p_value_of_sums(first, second, names, figure, seed=seed)
        if self.kind == MEDIAN:
            return randomisation.p_value(
                first, second, names, lambda values: self.of(values, weights), seed=seed
            )
        sides = first * weights, second * weights
        return randomisation.p_value_of_means(*sides, names, seed=seed)

    def _with_misses(self, means: np.ndarray, count: int) -> np.ndarray:
        return means * (count / (count + self.misses))


def _number(line: Any, path: Sequence[str]) -> tuple[Any] | None:
    """The number of a line at a path, None where there is none."""
    for key in path:
        if not isinstance(line, Mapping) or key not in line:
            return None
        line = line[key]
    return (line,)


def intervals(
    statistics: Mapping[str, Statistic],
    lines: Sequence[Mapping[str, Any]],
    groups: Sequence[str],
    *,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """95 % interval of each statistic by `bootstrap`, of the groups that the lines are in.

    None is given where fewer than two groups have a value.
    """
    read = {name: of.read(lines) for name, of in statistics.items()}
    together: dict[bytes, list[str]] = {}  # figures over the same lines share their draws
    for name, (_, rows) in read.items():
        together.setdefault(rows.tobytes(), []).append(name)
    found = {}
    for names in together.values():
        rows: Int[np.ndarray, " n"] = read[names[0]][1]
        of_rows = np.asarray(groups)[rows]
        if len(np.unique(of_rows)) < 2:
            continue
        weights = {name: statistics[name].weights(lines, rows) for name in names}
        samples: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for drawn in bootstrap.weights(of_rows, seed=seed):
            for name in names:
                of_draws = statistics[name].of_draws(read[name][0], weights[name], drawn)
                samples[name].append(of_draws)
        found |= {name: bootstrap.interval(np.concatenate(of)) for name, of in samples.items()}
    return {name: found[name] for name in statistics if name in found}
