"""What is drawn of a record and the lines of its examples: by task, a few small functions."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax.report_page import charts, markup
from videobert_jax.report_page.charts import Bar
from videobert_jax.report_page.markup import Markup
from videobert_jax.tasks import report

OWN = "this model"
CHARTED = {  # figures that have bars; all shares of other tasks
    "retrieval": (
        "*text_to_video_R[15]",
        "*text_to_video_R10",
        "*video_to_text_R[15]",
        "*video_to_text_R10",
    ),  # fmt: skip
    "fill_mask": ("*_accuracy_*",),
    "captioning": ("BLEU_[34]", "METEOR", "ROUGE_L", "CIDEr_D", "exact_*"),
}
WAYS = ("text_to_video", "video_to_text")  # of retrieval
_SCALE = {"CIDEr": 10.0, "CIDEr_D": 10.0}  # the highest value; of others 1
_OF_KIND = "of_kind"  # in lines of questions: {kind: what the line counts}
_MOST_LABELS = 24  # of a matrix that can be read
_MOST_CONFUSED = 12
_MOST_GROUPS = 24  # of bars; of own videos' localisation each video is a task

Record = Mapping[str, Any]
Lines = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A drawing, and what it shows."""

    title: str
    about: str
    drawing: Markup


def baselines(record: Record) -> list[str]:
    """Names of the baselines, in print order."""
    known = [name for name in report.ROWS if name in record["baselines"]]
    return known + [name for name in record["baselines"] if name not in known]


def bars(record: Record) -> Markup | None:
    """The chief figures, with their intervals, above those of the baselines."""
    patterns = CHARTED.get(record["task"], ("*",))
    groups = {}
    for name, value in record["metrics"].items():
        if name.endswith("rank") or not any(fnmatch.fnmatchcase(name, p) for p in patterns):
            continue
        scale = _SCALE.get(name, 1.0)
        ends = record.get("intervals", {}).get(name)
        between = (ends[0] / scale, ends[1] / scale) if ends else None
        rows = [Bar(OWN, value / scale, report.figure(name, value), between, own=True)]
        for other in baselines(record):
            if (peer := record["baselines"][other].get(name)) is not None:
                rows.append(Bar(other, peer / scale, report.figure(name, peer)))
        groups[name] = rows
    return charts.bars(groups) if groups else None


def plots(record: Record, lines: Lines) -> list[Plot]:
    """What else is drawn of a record."""
    return [
        plot for draw in _BY_TASK.get(record["task"], (by_group,)) for plot in draw(record, lines)
    ]


def recall_curves(record: Record, lines: Lines) -> list[Plot]:
    """Of each way of retrieval: the share of queries that have a right one among the first k."""
    drawn = []
    for way in WAYS:
        named = {
            f"towers, {way}": (None, f"{way}_rank"),
            "re-ranked": (None, f"reranked_{way}_rank"),
            "same action, towers": (None, f"{way}_same_action_rank"),
            **{name: (name, f"{way}_rank") for name in baselines(record)},
        }
        series = {
            name: _recalls(ranks, len(lines))
            for name, (of, key) in named.items()
            if len(ranks := np.array(list(_numbers(lines, of, key))))
        }
        if series:
            number = np.unique(np.geomspace(1, max(len(lines), 2), 60).round())
            series["chance"] = (number, number / max(len(lines), 2))
            drawn.append(
                Plot(
                    f"Recall among the first k, {way.replace('_', ' ')}",
                    f"share of {len(lines)} queries whose right candidate is among the first k",
                    charts.curves(series, logarithmic=True, across="k, candidates shown"),
                )
            )
    return drawn


def _recalls(ranks: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    k = np.unique(np.geomspace(1, max(count, 2), 60).round())
    return k, np.searchsorted(np.sort(ranks), k, side="right") / len(ranks)


def _numbers(lines: Lines, baseline: str | None, key: str) -> Iterable[float]:
    for line in lines:
        of = line if baseline is None else line.get("baselines", {}).get(baseline, {})
        if isinstance(of.get(key), (int, float)):
            yield float(of[key])


def score_curves(record: Record, lines: Lines) -> list[Plot]:
    """Of captions: the share of examples that have at least a score."""
    drawn = []
    for key in ("ROUGE_L", "CIDEr_D"):
        series = {}
        for name in (None, *baselines(record)):
            values = np.sort(np.array(list(_numbers(lines, name, key))))
            if len(values):
                x = np.concatenate([[0.0], values])
                y = 1 - np.arange(len(x)) / len(values)
                series[name or OWN] = (x, np.concatenate([[1.0], y[:-1]]))
        if series:
            about = f"share of {len(lines)} examples with at least this {key}"
            drawing = charts.curves(series, logarithmic=False, across=key)
            drawn.append(Plot(f"{key} example by example", about, drawing))
    return drawn


def confusions(record: Record, lines: Lines) -> list[Plot]:
    """Of each kind of labels: what was told as what."""
    drawn = []
    for kind in _kinds(lines):
        told = [(line[kind], told_label(line[kind])) for line in lines if kind in line]
        drawn.append(_confusion(kind, [(_own(of, said), said) for of, said in told if said]))
    return drawn


def _kinds(lines: Lines) -> list[str]:
    """Keys whose values have a label, and what was told in its place."""
    return list(dict.fromkeys(key for line in lines for key in line if told_label(line[key])))


def _own(of: Mapping[str, Any], told: str) -> str:
    """The label that was told where it is one of several that are right, else the first."""
    return told if told in of.get("labels", ()) else of["label"]


def told_label(of: Any) -> str | None:
    """The first label that was told in the place of the right one; None where `of` has none."""
    if not isinstance(of, Mapping) or "label" not in of:
        return None
    best = of.get("with_video", of).get("best")
    first = best[0] if isinstance(best, list) and best else best
    return first if isinstance(first, str) else None


def _confusion(kind: str, pairs: Sequence[tuple[str, str]]) -> Plot:
    names = sorted({name for pair in pairs for name in pair})
    right = sum(own == told for own, told in pairs)
    about = f"{right} of {len(pairs)} right"
    if len(names) <= _MOST_LABELS:
        counts = np.zeros((len(names), len(names)), int)
        np.add.at(counts, tuple(np.array([[names.index(n) for n in p] for p in pairs]).T), 1)
        about += "; rows: what is right, columns: what was told"
        return Plot(f"Which {kind} is told as which", about, charts.confusion(names, counts))
    wrong: dict[tuple[str, str], int] = {}
    for pair in pairs:
        if pair[0] != pair[1]:
            wrong[pair] = wrong.get(pair, 0) + 1
    most = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:_MOST_CONFUSED]
    rows = [(own, told, str(count)) for (own, told), count in most]
    about += f"; the most frequent mistakes among {len(names)} labels"
    drawing = markup.table(("right", "told", "times"), rows, class_="words")
    return Plot(f"Which {kind} is told as which", about, drawing)


def by_group(record: Record, lines: Lines) -> list[Plot]:
    """The figures that lines give, by what the lines are about: the kind of their question or
    their task."""
    drawn = []
    for key, group_of in _GROUPS.items():
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for line in lines:
            if (group := group_of(line)) is not None:
                groups.setdefault(group, []).append(line)
        if len(groups) < 2:
            continue
        largest = sorted(groups, key=lambda group: (-len(groups[group]), group))[:_MOST_GROUPS]
        rows = {
            f"{group} ({len(groups[group])})": _group_bars(record, groups[group])
            for group in sorted(largest)
        }
        about = f"{len(groups)} of them; number of examples in brackets"
        if len(largest) < len(groups):
            about = f"the {len(largest)} with most examples of {about}"
        drawn.append(Plot(f"By {key}", about, charts.bars(rows)))
    return drawn


_GROUPS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "kind": lambda line: next(iter(line.get(_OF_KIND, ())), None),
    "task": lambda line: of if isinstance(of := line.get("task"), str) else None,
}


def _group_bars(record: Record, members: Lines) -> list[Bar]:
    found = []
    for name, of in record.get("statistics", {}).items():
        statistic = report.Statistic.from_json(of)
        if statistic.path[0] == _OF_KIND:
            continue  # of a kind the same figure again
        values, rows = statistic.read(members)
        if len(values) and not name.endswith("rank"):
            value = float(statistic.of(values[None], statistic.weights(members, rows))[0])
            scale = _SCALE.get(name, 1.0)
            found.append(Bar(name, value / scale, report.figure(name, value), own=not found))
    return found


_BY_TASK: dict[str, tuple[Callable[[Record, Lines], list[Plot]], ...]] = {
    "retrieval": (recall_curves,),
    "zero_shot_classification": (confusions,),
    "fill_mask": (confusions,),
    "captioning": (score_curves,),
}
