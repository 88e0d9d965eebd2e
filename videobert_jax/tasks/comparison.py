"""Two results of one protocol on the same examples: is the difference more than chance?"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax.files import digests, storage
from videobert_jax.tasks import report
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import bootstrap, caption_scores, randomisation
from videobert_jax.tasks.metrics.statistic import Statistic

FORMAT = "videobert_jax.comparison"
METHOD = (
    "difference: second less first; interval: 95 %, paired percentile bootstrap, "
    f"{bootstrap.DRAWS} draws; p: two-sided paired randomisation test that swaps the two systems "
    f"(of means, the sign-flip test), all ways or {randomisation.DRAWS} drawn ones; both draw or "
    "swap whole videos, since examples of one depend on each other; no correction for many figures"
)
ANEW = (
    f"{caption_scores.CIDER} and {caption_scores.CIDER_D} are reckoned anew, by document "
    "frequencies of the compared examples' references"
)
_EQUAL = (  # fields of a record that a difference in makes two figures incomparable
    ("task",),
    ("protocol",),
    ("ties",),
    ("averaging",),
    ("dataset", "digest"),
    ("dataset", "split"),
)
_HOW = (report.ANSWERED_BY, "scores", "templates")  # fields that may differ, and are told then
# of a line; not answers
_ASKED = frozenset({"video", "start", "end", "text", "references", "label", "labels", "hidden"})


@dataclasses.dataclass(frozen=True)
class Result:
    """A record with the lines of its examples, by example id."""

    file: str
    record: Mapping[str, Any]
    lines: Mapping[int, Mapping[str, Any]]
    statistics: Mapping[str, Statistic]

    @classmethod
    def read(cls, path: storage.Path) -> "Result":
        """The result at FILE.json with FILE.examples.jsonl.

        Raises EvaluationError where one of them is not what it should be, or not the other's.
        """
        record, lines = report.read(path), report.read_examples(path)
        if "statistics" not in record:
            raise EvaluationError(
                f"{path}: a record of before figures were read off lines; evaluate again."
            )
        stated = {k: Statistic.from_json(of) for k, of in record["statistics"].items()}
        ids = [line["example_id"] for line in lines]
        if digests.sha256_array(np.array(ids, np.int64)) != record["dataset"]["ids_digest"]:
            raise EvaluationError(
                f"{report.examples_path(path)}: its examples are not those of {path}; evaluate "
                "again."
            )
        report.require_lines(record["metrics"], stated, lines, where=str(path))
        return cls(str(path), record, dict(zip(ids, lines, strict=True)), stated)

    def described(self) -> dict[str, Any]:
        """What was measured: the file, and the checkpoint or predictions that it is of."""
        of = {k: self.record[k] for k in ("checkpoint", "predictions") if k in self.record}
        return {"file": self.file, **of, "num_examples": len(self.lines)}


def compare(first: Result, second: Result, *, intersection: bool, seed: int) -> dict[str, Any]:
    """Every figure of both, with its difference, a paired interval and p-value: a JSON object.

    intersection: over the examples that both have, CIDEr by their references alone. Raises
    EvaluationError where task, protocol, dataset or examples are not the same, or an example was
    asked otherwise.
    """
    _require_equal(first, second)
    ids = _common(first, second, intersection)
    sides = [[of.lines[one] for one in ids] for of in (first, second)]
    _require_asked_alike(first, second, ids)
    notes = [*_differences(first, second), *_unshared(first, second)]
    if intersection and caption_scores.CIDER in first.statistics:
        sides = [caption_scores.among(lines) for lines in sides]
        notes.append(ANEW)
    videos = [str(line["video"]) for line in sides[0]]
    shared = [name for name in first.record["metrics"] if name in second.record["metrics"]]
    return {
        "format": FORMAT,
        "task": first.record["task"],
        "protocol": first.record["protocol"],
        "dataset": {k: first.record["dataset"][k] for k in ("name", "digest", "split")},
        "first": first.described(),
        "second": second.described(),
        "examples": {
            "selection": "intersection" if intersection else "all",
            "num_compared": len(ids),
            "num_videos": len(set(videos)),
        },
        "method": METHOD,
        "seed": seed,
        "figures": {
            name: figure
            for name in shared
            if (figure := _figure(name, first, second, sides, videos, intersection, seed))
        },
        "notes": notes,
    }


def _differences(first: Result, second: Result) -> list[str]:
    """Notes on how the two made their answers, where both say it and not alike."""
    told = [(key, first.record.get(key), second.record.get(key)) for key in _HOW]
    return [
        f"{key}: {one!r} in {first.file}, {other!r} in {second.file}"
        for key, one, other in told
        if one and other and one != other
    ]


def _unshared(*results: Result) -> list[str]:
    """Notes on figures that one of two results has alone."""
    return [
        f"only in {of.file}: {', '.join(own)}"
        for of, other in (results, results[::-1])
        if (own := [n for n in of.record["metrics"] if n not in other.record["metrics"]])
    ]


def table(comparison: Mapping[str, Any]) -> str:
    """The figures as lines of text."""
    return report.aligned(rows(comparison))


def rows(comparison: Mapping[str, Any]) -> list[list[str]]:
    """A header and a row a figure, as text; differences of shares in points of 100."""
    rows = [["", "first", "second", "difference", "95 %", "p"]]
    for name, of in comparison["figures"].items():
        ends = " to ".join(_signed(name, end) for end in of["interval"] or []) or "-"
        difference = _signed(name, of["difference"])
        p_value = "-" if of["p_value"] is None else f"{of['p_value']:.4f}"
        figures = [report.figure(name, of[side]) for side in ("first", "second")]
        rows.append([name, *figures, difference, ends, p_value])
    return rows


def _signed(name: str, value: float) -> str:
    decimals = report.decimals_of(name)
    return f"{100 * value:+.1f}" if decimals is None else f"{value:+.{decimals}f}"


def _figure(
    name: str,
    first: Result,
    second: Result,
    sides: Sequence[Sequence[Mapping[str, Any]]],
    videos: Sequence[str],
    intersection: bool,
    seed: int,
) -> dict[str, Any] | None:
    """A figure of both; None where the examples that are compared do not tell it."""
    stated = [of.statistics.get(name) for of in (first, second)]
    statistic = stated[0]
    if stated[0] != stated[1] and not intersection:
        raise EvaluationError(
            f"{name} is read off the lines of {first.file} by {stated[0]} and of {second.file} by "
            f"{stated[1]}; evaluate both with one version."
        )
    if statistic is None:
        if intersection:  # a figure of all examples says nothing of some
            return None
        whole = [float(of.record["metrics"][name]) for of in (first, second)]
        return _described(whole, None, None, None)
    if intersection:  # what has no line is in no intersection
        statistic = dataclasses.replace(statistic, misses=0)
    (ours, rows), (peer, peer_rows) = (statistic.read(lines) for lines in sides)
    if not np.array_equal(rows, peer_rows):
        raise EvaluationError(
            f"{name}: {first.file} has it of {len(rows)} of the examples, {second.file} of "
            f"{len(peer_rows)} or of others; evaluate both with one version."
        )
    if not len(rows):
        return None
    weights = statistic.weights(sides[0], rows)
    values = [float(statistic.of(side[None], weights)[0]) for side in (ours, peer)]
    groups = [videos[int(row)] for row in rows]
    if len(set(groups)) < 2:
        return _described(values, None, None, len(rows))
    samples = [
        statistic.of_draws(peer, weights, drawn) - statistic.of_draws(ours, weights, drawn)
        for drawn in bootstrap.weights(np.asarray(groups), seed=seed)
    ]
    ends = bootstrap.interval(np.concatenate(samples))
    p_value = statistic.p_value(ours, peer, weights, groups, seed=seed)
    return _described(values, ends, p_value, len(rows))


def _described(
    values: Sequence[float],
    interval: tuple[float, float] | None,
    p_value: float | None,
    num_examples: int | None,
) -> dict[str, Any]:
    first, second = values
    return {
        "first": first,
        "second": second,
        "difference": second - first,
        "interval": interval and list(interval),
        "p_value": p_value,
        "num_examples": num_examples,
    }


def _require_equal(first: Result, second: Result) -> None:
    for path in _EQUAL:
        one, other = first.record, second.record
        for key in path:
            one, other = one[key], other[key]
        if one != other:
            raise EvaluationError(
                f"{'.'.join(path)} is {one!r} in {first.file} and {other!r} in {second.file}; "
                "compare results of one protocol on one split."
            )


def _common(first: Result, second: Result, intersection: bool) -> list[int]:
    """Ids that are compared, in order."""
    common = sorted(first.lines.keys() & second.lines.keys())
    only = [
        sorted(of.lines.keys() - other.lines.keys())
        for of, other in ((first, second), (second, first))
    ]
    if any(only) and not intersection:
        differences = ", ".join(
            f"{len(ids)} in {of.file} alone{f' (the first are {ids[:3]})' if ids else ''}"
            for ids, of in zip(only, (first, second), strict=True)
        )
        raise EvaluationError(
            f"the examples differ: {differences}; --intersection compares the {len(common)} that "
            "both have."
        )
    if not common:
        raise EvaluationError(f"{first.file} and {second.file} have no example in common.")
    return common


def _require_asked_alike(first: Result, second: Result, ids: Sequence[int]) -> None:
    for one in ids:
        asked = [dict(_asked(of.lines[one])) for of in (first, second)]
        if asked[0] != asked[1]:
            path = next(p for p in asked[0] | asked[1] if asked[0].get(p) != asked[1].get(p))
            raise EvaluationError(
                f"example {one}: {'.'.join(path)} is {asked[0].get(path)!r} in {first.file} and "
                f"{asked[1].get(path)!r} in {second.file}; compare results of one dataset and seed."
            )


def _asked(line: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple]:
    """Yields (path, value) of what a line says of its question."""
    for key, value in line.items():
        if isinstance(value, Mapping) and key != "baselines":
            yield from _asked(value, (*path, key))
        elif key in _ASKED:
            yield (*path, key), value
