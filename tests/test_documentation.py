"""Every command that the documents show is one that the programs take, and names what is there."""

import argparse
import dataclasses
import importlib
import pathlib
import re
import shlex
import sys
from collections.abc import Iterable

import numpy as np
import pytest

from configs import base
from tests import bundles, colours
from videobert_jax import configuration
from videobert_jax.cli import main
from videobert_jax.export import safetensors
from videobert_jax.video import decode
from videobert_jax.weights import backbones

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
EXAMPLES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("inference", "search")))
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(r"(python (-m |\w+\.py)|videobert |make \w)")


def commands(documents: Iterable[pathlib.Path] = DOCUMENTS) -> list[str]:
    """Commands in fences and in line, without comments; abbreviated ones ("...") are left out."""
    found = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        lines = [line for fence in _FENCE.findall(text) for line in fence.splitlines()]
        lines += [" ".join(code.split()) for code in _INLINE.findall(_FENCE.sub("", text))]
        found += [line.split("  #")[0].split("    #")[0].strip() for line in lines]
    found = [line for line in found if _COMMAND.match(line) and "..." not in line]
    return list(dict.fromkeys(found))


class Parsed(Exception):
    """Raised in the place of running a command: what its parser left over."""


@pytest.fixture
def only_parse(monkeypatch):
    original = argparse.ArgumentParser.parse_known_args

    def parse(parser, args=None, namespace=None):
        raise Parsed(original(parser, args, namespace)[1])

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
    monkeypatch.syspath_prepend(str(ROOT))


def run(words: list[str], monkeypatch) -> None:
    """Starts the program that the words name, as far as its parser."""
    if words[0] == "videobert" or words[:3] == ["python", "-m", "videobert_jax"]:
        main.main(words[1:] if words[0] == "videobert" else words[3:])
    module, arguments = (words[2], words[3:]) if words[1] == "-m" else (words[1][:-3], words[2:])
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    importlib.import_module(module).main()


def test_the_documents_show_commands():
    names = {shlex.split(command)[0] for command in commands()}
    assert names == {"python", "videobert", "make"} and len(commands()) >= 20


@pytest.mark.parametrize("command", commands())
def test_a_command_is_understood(command, only_parse, monkeypatch, capsys):
    words = shlex.split(command)
    if words[0] == "make":
        targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert targets is not None and words[1] in targets[1].split()
        return
    with pytest.raises(Parsed) as parsed:
        run(words, monkeypatch)
    (rest,) = parsed.value.args
    config = [word.partition("=")[2] for word in words if word.startswith("--config=")]
    assert all((ROOT / name).is_file() for name in config)
    assert not rest or config
    for word in rest:
        key, equals, value = word.removeprefix("--config.").partition("=")
        assert equals and word.startswith("--config.")
        configuration.apply_override(configuration.load_file(str(ROOT / config[0])), key, value)


def test_what_takes_the_place_of_other_code_is_there():
    """Settings, files and flags in the right columns of docs/coming_from.md."""
    text = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ", 1) for line in text.splitlines() if line[:2] == "| "]
    ours = " ".join(row[1] for row in rows if len(row) == 2)
    settings = set(re.findall(r"`config\.(?!json)([a-z_0-9.]*[a-z_0-9])", text))
    leaves = configuration.flat_settings(configuration.to_json(base.get_config()))
    known = {
        ".".join(leaf.split(".")[:n]) for leaf in leaves for n in range(1, leaf.count(".") + 2)
    }
    assert len(settings) > 30 and settings <= known, sorted(settings - known)
    files = set(re.findall(r"\b(configs/\w+\.py)", ours))
    assert len(files) > 5 and not [file for file in files if not (ROOT / file).is_file()]
    programs = [*(ROOT / "videobert_jax" / "cli").glob("*.py"), ROOT / "train.py", ROOT / "eval.py"]
    flags = set(re.findall(r"(?<![\w-])--(?!config\b)([a-z][\w-]*)", ours))
    taken = {flag for file in programs for flag in re.findall(r'"--([\w-]+)"', file.read_text())}
    assert len(flags) > 20 and flags <= taken, sorted(flags - taken)


@pytest.mark.parametrize("document", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_in_python_run(document, tiny_run, tmp_path, monkeypatch):
    """As they stand, where a small network and short films are called as the example has them."""
    pytest.importorskip("av", reason="PyAV is not installed")
    (example,) = _PYTHON.findall(document.read_text(encoding="utf-8"))
    made = dataclasses.replace(bundles.tiny(tiny_run), contract=colours.CONTRACT)
    monkeypatch.chdir(tmp_path)
    safetensors.save_bundle(made, "runs/kitchen")
    monkeypatch.setattr(backbones, "of_contract", colours.of_contract)
    frames = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), np.uint8)
    for film in set(re.findall(r"\w+\.mp4", example)):
        decode.write_frames(film, frames, 8)
    if document.name == "search.md":
        _index_films(monkeypatch)
    made: dict[str, object] = {"index_vectors": np.ones((2, made.config.joint_dim), np.float32)}
    exec(compile(example, str(document), "exec"), made)
    assigned = set(re.findall(r"^(\w+) = ", example, re.MULTILINE))
    assert assigned and all(made[name] is not None for name in assigned)


def _index_films(monkeypatch) -> None:
    """runs/index of two films, by the export."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    monkeypatch.setattr(
        backbones, "load_backbone", lambda name, file: (colours.BACKBONE, colours.CLIPS)
    )
    frames = np.random.default_rng(1).integers(0, 256, (80, 32, 32, 3), np.uint8)
    pathlib.Path("videos").mkdir()
    for number in range(2):
        decode.write_frames(f"videos/{number}.mp4", frames[number:], 8)
    assert main.main(["index", "videos", "--platform=cpu"]) == 0
