"""A checkpoint that lies there is gone on from with other settings, where they are let through.

Nothing is compiled: each start is asked to stop before its first step.
"""

import json
import pathlib
from typing import Any

import pytest

from tests.golden import make
from videobert_jax.training import changed_settings, checkpoint, loop, run_record

VERSION = pathlib.Path(make.__file__).parent / "0.1.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("golden")
    make.unpack(VERSION, folder)
    return folder


def start(folder: pathlib.Path, *allowed: str, **settings: Any) -> loop.TrainResult:
    config = run_record.read_settings(folder / "run")
    config["data"]["path"] = str(folder / "dataset")
    for name, value in settings.items():
        *groups, leaf = name.split("__")
        node = config
        for group in groups:
            node = node[group]
        node[leaf] = value
    given = folder / "given"
    given.mkdir(exist_ok=True)
    run_record.update_settings(given, config)
    run = run_record.run_config(given)  # with the settings that there are since
    return loop.train(
        run,
        config,
        folder / "run",
        evaluators=(),
        stop=lambda step: True,
        allow_change=allowed,
    )


def test_a_run_goes_on_with_what_is_let_through_and_with_nothing_else(folder, capsys):
    with pytest.raises(run_record.RunRecordError, match="learning_rate: 0.001 there, 0.5 now"):
        start(folder, optimizer__learning_rate=0.5)
    with pytest.raises(checkpoint.CheckpointError, match="of another model: .*joint_head"):
        start(folder, "model.joint_dim", model__joint_dim=12)
    assert changed_settings.recorded(folder / "run") == []
    allowed = ("optimizer.learning_rate", "data.read_group", "data.path")
    changed = {"optimizer__learning_rate": 0.5, "data__read_group": 2}
    for _ in range(2):  # the same command once more
        assert start(folder, *allowed, **changed).step == make.STOP_AT
    output = capsys.readouterr().out
    assert "optimizer.learning_rate: 0.001 there, 0.5 now: let through" in output
    assert "read_group: the checkpoint has 1, this run has 2: let through" in output
    first, *_ = changed_settings.recorded(folder / "run")
    assert [change["name"] for change in first["settings"]] == [
        "data.read_group",
        "optimizer.learning_rate",
    ]
    saved = json.loads((folder / "run" / "config.json").read_text())
    assert saved["optimizer"]["learning_rate"] == 0.5
    shorter = {"training__num_steps": 1, "optimizer__warmup_steps": 0}
    with pytest.raises(run_record.RunRecordError, match="is of step 2, but .*num_steps is 1"):
        start(
            folder,
            *allowed,
            "training.num_steps",
            "optimizer.warmup_steps",
            **changed,
            **shorter,
        )
