"""The page of one or several results: a file that needs nothing else, and asks nobody."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from videobert_jax import schema
from videobert_jax.files import json_values, storage
from videobert_jax.report_page import cases, markup, plots, style
from videobert_jax.report_page.cases import Case
from videobert_jax.report_page.frames import KitchenStrips
from videobert_jax.report_page.markup import Child, Markup, tag
from videobert_jax.tasks import comparison, report
from videobert_jax.tasks.errors import EvaluationError

FILE = "index.html"
CASES = 6  # best ones, and as many worst
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_FACTS = {  # of the details of a record
    "protocol": "Protocol",
    "averaging": "Averaging",
    "ties": "Ties",
    "interval_method": "Intervals",
    "scoring": "Scoring",
    "scores": "Ranked by",
    "answered_by": "Answered by",
    "inputs": "Inputs",
}


class Result:
    """A record, the lines of its examples, and the file it is in."""

    def __init__(self, path: storage.Path):
        """Raises EvaluationError where record or lines are not there or something else."""
        self.path = path
        self.record = report.read(path)
        self.lines = report.read_examples(path)

    @property
    def system(self) -> str:
        """What was evaluated, in a few words."""
        if "checkpoint" not in self.record:
            return report.described_system(self.record)
        of = self.record["checkpoint"]
        return f"{of['name']} step {of['step']}"

    @property
    def digest(self) -> str:
        of = self.record.get("checkpoint") or self.record["predictions"]
        return str(of.get("digest") or of.get("sha256"))

    @property
    def data(self) -> str:
        return f"{self.record['dataset']['name']}/{self.record['dataset']['split']}"


def write(paths: Sequence[storage.Path], folder: storage.Path) -> storage.Path:
    """Path of the page of records and comparisons, in their order.

    Raises EvaluationError where there are none, or a file is neither.
    """
    from videobert_jax.files import atomic

    if not paths:
        raise EvaluationError("no results to report; name records of eval.py, FILE.json.")
    compared = [found for path in paths if (found := _comparison(path))]
    results = [Result(path) for path in paths if not _comparison(path)]
    storage.make_folder(folder)
    output = folder / FILE
    atomic.write_text(output, build(results, [*compared, *_compare(results)]))
    return output


def build(results: Sequence[Result], comparisons: Sequence[Mapping[str, Any] | str]) -> str:
    """The page, as text. A comparison that could not be made is the reason why."""
    strips = KitchenStrips()
    tasks = list(dict.fromkeys(result.record["task"] for result in results))
    sections = [
        tag(
            "section",
            tag("h2", task.replace("_", " ").capitalize(), id=task),
            [_article(result, strips) for result in results if result.record["task"] == task],
        )
        for task in tasks
    ]
    if comparisons:
        shown = [_comparison_table(of) for of in comparisons]
        sections.append(tag("section", tag("h2", "Comparisons", id="comparisons"), shown))
    systems = list(dict.fromkeys(result.system for result in results)) or ["comparisons"]
    title = f"Results of {', '.join(systems)}"
    names = [*tasks, *(["comparisons"] if comparisons else [])]
    links = [tag("a", name.replace("_", " "), href=f"#{name}") for name in names]
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("nav", links), *_kitchen_note(results)),
        tag("main", _measured(results) if results else None, sections),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(style.CSS)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _kitchen_note(results: Sequence[Result]) -> list[Markup]:
    if any(report.KITCHEN_NOTE in result.record["notes"] for result in results):
        return [tag("p", f"The kitchen is {report.KITCHEN_NOTE}.", class_="note")]
    return []


def _measured(results: Sequence[Result]) -> Markup:
    """What was measured: a row a record."""
    rows = [
        (
            tag("a", result.record["task"].replace("_", " "), href=f"#{_anchor(result)}"),
            markup.name(result.data),
            f"{of['num_evaluated']} of {of['num_expected']}",
            result.system,
            result.digest[:12],
            result.record["setting"],
            _overlap(result.record),
            _contract(result.record),
        )
        for result in results
        for of in (result.record["dataset"],)
    ]
    header = ("task", "dataset/split", "examples", "system", "digest", "setting",
              "videos also trained on", "feature contract")  # fmt: skip
    return tag(
        "section", tag("h2", "What was measured"), markup.table(header, rows, class_="words")
    )


def _overlap(record: Mapping[str, Any]) -> str:
    return str(record["overlap"]["num_videos"]) if "overlap" in record else "not known"


def _contract(record: Mapping[str, Any]) -> str:
    return "verified" if record.get("contract_verified") else "not verified"


def _anchor(result: Result) -> str:
    of = result.record["dataset"]
    return "-".join((result.record["task"], of["name"], of["split"], result.digest[:12]))


def _article(result: Result, strips: KitchenStrips) -> Markup:
    record, lines = result.record, result.lines
    drawn = [
        tag("figure", tag("figcaption", tag("b", plot.title), f": {plot.about}"), plot.drawing)
        for plot in plots.plots(record, lines)
    ]
    best, worst = cases.best_and_worst(record, lines, CASES)
    shown = strips if record["dataset"]["name"] in schema.EMBEDDED else None
    return tag(
        "article",
        tag("h3", f"{result.data}, {result.system} ({result.digest[:8]})", id=_anchor(result)),
        tag("p", _summary(result), class_="muted"),
        plots.bars(record),
        tag("h4", "All figures"),
        _figures(record),
        tag("div", drawn, class_="plots") if drawn else None,
        _cases("Best examples", best, shown),
        _cases("Worst examples", worst, shown),
        _details(result),
    )


def _summary(result: Result) -> str:
    of = result.record["dataset"]
    return (
        f"{of['num_evaluated']} of {of['num_expected']} examples; {result.record['setting']}; "
        "bars: this model with its 95 % interval, above baselines"
    )


def _figures(record: Mapping[str, Any]) -> Markup:
    """Every figure with its interval and the baselines', and those of other ways of scoring."""
    others = plots.baselines(record)
    variants = record.get("variants", {})
    named = {plots.OWN: record["metrics"], **{name: record["baselines"][name] for name in others}}
    named |= {f"by {name}": of for name, of in variants.items()}
    intervals = record.get("intervals", {})
    rows = []
    for name in dict.fromkeys(name for of in named.values() for name in of):
        own, *rest = [report.figure(name, of.get(name)) for of in named.values()]
        between = " to ".join(report.figure(name, end) for end in intervals.get(name, [])) or "-"
        rows.append((markup.name(name), own, between, *rest))
    own, *rest = named
    return markup.table(("", own, "95 %", *map(markup.name, rest)), rows, class_="figures")


def _cases(title: str, shown: Sequence[Case], strips: KitchenStrips | None) -> Markup | None:
    if not shown:
        return None
    return markup.join(
        [tag("h4", title), tag("div", [_case(case, strips) for case in shown], class_="cases")]
    )


def _case(case: Case, strips: KitchenStrips | None) -> Markup:
    line = case.line
    where = f"{line['video']}"
    if "start" in line:
        where += f", {line['start']:.1f} to {line['end']:.1f} s"
    inside: list[Child] = [
        tag("div", where, class_="where"),
        strips.strip(line) if strips else None,
        tag("div", f"\u201c{case.text}\u201d", class_="text") if case.text else None,
        tag("dl", [(tag("dt", what), tag("dd", said)) for what, said in case.rows]),
    ]
    if case.found is not None and strips and (strip := strips.strip(case.found)):
        inside += [tag("div", "found in its place:", class_="where"), strip]
    return tag("div", inside, class_="case")


def _details(result: Result) -> Markup:
    """How it was measured, and the record itself."""
    record = result.record
    facts = [(said, str(record[key])) for key, said in _FACTS.items() if record.get(key)]
    facts += [("Template", template) for template in record["templates"]]
    cut = ", ".join(f"{name} {count}" for name, count in record["truncation"].items())
    contract = record["feature_contract"]
    facts += [
        ("Cut", cut or "nothing"),
        ("Feature contract", ", ".join(f"{key} {value}" for key, value in contract.items())),
        ("Seed", str(record["seed"])),
        *(("Note", note) for note in record["notes"]),
        ("File", str(result.path)),
    ]
    listed = tag("dl", [(tag("dt", name), tag("dd", said)) for name, said in facts])
    whole = json.dumps(record, ensure_ascii=False, indent=1)
    return markup.join(
        [
            tag("details", tag("summary", "How it was measured"), listed, open=""),
            tag("details", tag("summary", "The whole record"), tag("pre", whole)),
        ]
    )


def _comparison(path: storage.Path) -> Mapping[str, Any] | None:
    """The comparison in a file, None where it holds something else."""
    try:
        found = json_values.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_one = isinstance(found, dict) and found.get("format") == comparison.FORMAT
    return found if is_one else None


def _compare(results: Sequence[Result]) -> list[Mapping[str, Any] | str]:
    """Of every task and split the first system beside each other one, or why that cannot be."""
    found: list[Mapping[str, Any] | str] = []
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.record["task"], result.data), []).append(result)
    for first, *others in groups.values():
        for other in others:
            try:
                sides = map(comparison.Result.read, (first.path, other.path))
                found.append(comparison.compare(*sides, intersection=False, seed=0))
            except EvaluationError as error:
                found.append(f"{first.path} and {other.path} are not compared: {error}")
    return found


def _comparison_table(of: Mapping[str, Any] | str) -> Markup:
    if isinstance(of, str):
        return tag("p", of, class_="note")
    sides = [
        f"{side}: {of[side]['file']}, {report.described_system(of[side])}"
        for side in ("first", "second")
    ]
    count = of["examples"]
    about = f"{count['num_compared']} examples of {count['num_videos']} videos"
    header, *rows = comparison.rows(of)
    rows = [(markup.name(name), *figures) for name, *figures in rows]
    return tag(
        "article",
        tag(
            "h3",
            f"{of['task'].replace('_', ' ')}, {of['dataset']['name']}/{of['dataset']['split']}",
        ),
        [tag("p", line) for line in [*sides, about]],
        markup.table(header, rows),
        tag("p", of["method"], class_="muted"),
        [tag("p", note, class_="note") for note in of["notes"]],
    )
