"""`videobert demo`: it serves at the loopback address, ends cleanly, and says what is wrong."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import threading
import urllib.request

import numpy as np
import pytest

from tests import bundles, fakes
from videobert_jax import loading
from videobert_jax.cli import main
from videobert_jax.demo import films, server
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.kitchen import assets


@pytest.fixture
def bundle(tiny_run, monkeypatch):
    """The network that every --checkpoint gives, and three films of its contract."""
    made = dataclasses.replace(
        bundles.tiny(tiny_run),
        contract=fakes.CONTRACT,
        trained_on={"datasets": [{"name": "kitchen"}], "video_names": ["kitchen_0001"]},
    )
    features = np.random.default_rng(0).normal(size=(6, fakes.FEATURE_DIM)).astype(np.float16)
    videos = tuple(
        assets.VideoRecord(f"kitchen_{n:04d}", "test", 6.0, (), (), features) for n in range(3)
    )
    shipped = assets.KitchenAssets(fakes.CONTRACT, videos, {})
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights, revision: made)
    monkeypatch.setattr(assets, "load", lambda: shipped)
    return made


def run(*arguments) -> int:
    return main.main(["demo", "--checkpoint=runs/a", "--platform=cpu", *arguments])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_this_machine_alone_and_removes_its_folder(bundle, number, monkeypatch, capsys):
    seen = {}
    serve = server.Server.serve_forever

    def look(served):
        """What a visitor does, who then ends the program."""
        seen["folder"] = served.service.films.folder
        assert seen["folder"].is_dir() and served.server_address[0] == "127.0.0.1"
        with urllib.request.urlopen(f"{served.address}about") as answer:
            seen["about"] = json.load(answer)
        os.kill(os.getpid(), number)

    def serving(served):
        visitor = threading.Thread(target=look, args=(served,))
        visitor.start()
        try:
            serve(served, 0.02)
        finally:
            visitor.join()

    monkeypatch.setattr(server.Server, "serve_forever", serving)
    # the background jobs of a shell begin with Ctrl-C ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert run("--port=0") == 0
    assert not pathlib.Path(seen["folder"]).exists()
    about = seen["about"]
    # The video of training is left out.
    assert [film["name"] for film in about["films"]] == ["kitchen_0000", "kitchen_0002"]
    assert about["kitchen_only"] and about["windows"] >= 2
    # The one reason, whichever it is here: made features, or no package that decodes films.
    said = capsys.readouterr()
    assert about["no_uploads"] and about["no_uploads"] in said.err
    assert said.out.startswith("open http://127.0.0.1:") and said.err.endswith("stopped\n")


def test_a_port_that_is_taken_is_said(bundle, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(f"--port={port}") == 2
    assert f"--port={port}" in capsys.readouterr().err


def test_films_of_another_contract_are_left_out(bundle):
    other = dataclasses.replace(fakes.CONTRACT, stride_seconds=2.0)
    model = PretrainedModel(dataclasses.replace(bundle, contract=other))
    assert films.kitchen(model) == {}
    assert len(films.kitchen(PretrainedModel(bundle))) == 2
