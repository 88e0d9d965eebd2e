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

from tests import bundles, colours
from videobert_jax import configuration
from videobert_jax.cli import main
from videobert_jax.export import safetensors
from videobert_jax.video import decode
from videobert_jax.weights import backbones

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
EXAMPLES = (ROOT / "README.md", ROOT / "docs" / "inference.md")  # in Python
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
    made: dict[str, object] = {}
    exec(compile(example, str(document), "exec"), made)
    assigned = set(re.findall(r"^(\w+) = ", example, re.MULTILINE))
    assert assigned and all(made[name] is not None for name in assigned)
