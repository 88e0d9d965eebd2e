"""The table of published numbers: every figure has its interval, and commands that lead to it."""

import argparse
import dataclasses
import math
import re
import shlex

import pytest

from tests import test_documentation
from videobert_jax import configuration
from videobert_jax.cli import evaluate
from videobert_jax.run_config import RunConfig

ROOT = test_documentation.ROOT
DOCUMENT = ROOT / "docs" / "reproduce.md"
HEADER = ["number", "published", "n", "expected", "data", "measured by", "result", "log"]
FEATURES = {"howto100m_npy": "s3d_1024", "univl_pickle": "s3d_1024", "mmpt": "s3d_512"}
NETWORK = ("embed_dim", "num_heads", "feed_forward_dim", "joint_dim", "norm")


@dataclasses.dataclass(frozen=True)
class Row:
    number: str
    published: str
    examples: int | None
    expected: tuple[float, float]
    data: str
    command: str
    result: str
    log: str


def rows() -> list[Row]:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    first = cells.index(HEADER)
    found = []
    for number, published, n, expected, data, command, result, log in cells[first + 2 :]:
        low, high = map(float, expected.split(" to "))
        count = None if n == "–" else int(n.replace(",", ""))
        command = command.strip("`")
        found.append(Row(number, published, count, (low, high), data, command, result, log))
    return found


def commands(program: str) -> list[list[str]]:
    found = map(shlex.split, test_documentation.commands([DOCUMENT]))
    return [words for words in found if " ".join(words).startswith(program)]


def flag(words: list[str], name: str) -> str | None:
    """The value of --NAME=VALUE or --NAME VALUE."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{name}":
            return following
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return None


def trained() -> dict[str, RunConfig]:
    """Workdir -> settings of its run, checked together."""
    found = {}
    for words in commands("python train.py"):
        config = configuration.load_file(str(ROOT / str(flag(words, "config"))))
        for word in words:
            key, equals, value = word.removeprefix("--config.").partition("=")
            if equals and word.startswith("--config."):
                configuration.apply_override(config, key, value)
        found[str(flag(words, "workdir"))] = configuration.parse(config)
    return found


def prepared() -> dict[str, list[str]]:
    """Dataset -> words of the command that prepares it."""
    return {str(flag(words, "output")): words for words in commands("videobert prepare")}


def features(dataset: str) -> str | None:
    words = prepared()[dataset]
    extracted = {flag(of, "output"): flag(of, "backbone") for of in commands("videobert extract")}
    if backbone := flag(words, "backbone") or extracted.get(flag(words, "features")):
        return backbone
    layout = flag(words, "layout")
    return FEATURES.get(str(layout), layout)


def test_there_is_a_row_for_every_system_and_task():
    table = rows()
    text = " ".join(row.number for row in table)
    for named in ("VideoBERT", "MIL-NCE", "UniVL", "VideoCLIP", "TACo", "YouCook II", "MSR-VTT"):
        assert named in text
    for named in ("verbs", "captions", "CrossTask", "COIN", "MSRVTT-QA", "multiple choice"):
        assert named in text
    assert len(table) >= 20 and len({row.number for row in table}) == len(table)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.number)
def test_a_row_says_what_is_expected_and_where_the_number_is_from(row):
    first = float(re.split(r"[, ]", row.published)[0])
    (source,) = re.findall(r"\[\w+\]", row.published)
    below = [line for line in DOCUMENT.read_text().splitlines() if not line.startswith("|")]
    assert any(source in line for line in below)  # says what it stands for
    low, high = row.expected
    assert low < first <= high and row.data in ("a", "b", "x")
    if row.examples:
        error = 1.96 * math.sqrt(first * (100 - first) / row.examples)
        assert low == pytest.approx(first - error, abs=0.051)
        assert high <= first + error + 0.051
    if row.result == "not run":
        assert row.log == "–"
    else:
        assert re.match(r"[\d.]+", row.result) and row.log != "–"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.number)
def test_what_measures_a_row_is_prepared_and_trained_on_the_page(row):
    words = shlex.split(row.command)
    if row.command == "none yet" or words[0] == "videobert":
        return
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    arguments = parser.parse_args(words[2:])
    assert arguments.task in evaluate.TASKS
    run = trained()[arguments.workdir]
    own = run.data.path
    dataset = arguments.dataset or own
    assert features(dataset) == features(own)
    assert arguments.split in {
        "youcook2": ("retrieval", "validation"),
        "msrvtt": ("test_1ka",),
        "crosstask": ("test",) if flag(prepared()[dataset], "fold") else ("primary",),
    }.get(prepared()[dataset][2], ("test",))
    if arguments.split == "retrieval":
        assert flag(prepared()[dataset], "retrieval-csv")


def test_a_run_begins_with_one_of_the_page_that_has_its_features_and_sizes():
    runs = trained()
    made = list(runs)
    began = 0
    for workdir, run in runs.items():
        assert run.data.path in prepared()
        if not run.init.checkpoint:
            continue
        began += 1
        assert made.index(run.init.checkpoint) < made.index(workdir)
        first = runs[run.init.checkpoint]
        assert features(first.data.path) == features(run.data.path)
        for name in NETWORK:
            assert getattr(first.model, name) == getattr(run.model, name)
        assert first.model.text.num_layers == run.model.text.num_layers
        assert first.model.video == run.model.video
        if "cross_encoder" in run.init.modules:
            assert first.model.cross == run.model.cross
    assert began >= 9
