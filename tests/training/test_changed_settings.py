"""What a run that goes on may change: every setting has a rule, and the rules hold."""

import dataclasses
import json
import pathlib
import typing
from typing import Any

import jax
import numpy as np
import pytest

import train as entry_point
from tests import fakes
from tests.integration import runs
from videobert_jax import configuration, schema
from videobert_jax.data import data_state
from videobert_jax.run_config import RunConfig
from videobert_jax.training import (
    changed_settings,
    checkpoint,
    hardware,
    inputs,
    loop,
    manifest,
    processes,
    restoring,
    resume_rules,
    run_record,
)
from videobert_jax.training.resume_rules import Kind
from videobert_jax.training.run_record import RunRecordError

NO_SETTINGS = {"dataset", "parameter_dtypes", "tokenizer", "contract"}


def names_of(kind: Any, prefix: str = "") -> list[str]:
    """Dotted names of all settings of a dataclass; those of a source once, as of "*"."""
    found = []
    for name, of in typing.get_type_hints(kind).items():
        items = [item for item in typing.get_args(of) if dataclasses.is_dataclass(item)]
        if dataclasses.is_dataclass(of):
            found += names_of(of, f"{prefix}{name}.")
        elif items and items != [RunConfig]:  # a stage has the run's own settings
            found += names_of(items[0], f"{prefix}{name}.*.")
        else:
            found.append(prefix + name)
    return found


def test_every_setting_has_one_rule_and_every_rule_a_setting():
    ruled = [name for rule in resume_rules.RULES for name in rule.names]
    assert sorted(ruled) == sorted([*names_of(RunConfig), *NO_SETTINGS])
    assert all(rule.why for rule in resume_rules.RULES)


@pytest.fixture
def config() -> dict[str, Any]:
    path = str(runs.ROOT / "configs" / "tiny.py")
    return configuration.to_json(configuration.load_file(path))


def changed(config: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The settings with others; double underscores in names stand for dots."""
    made = json.loads(json.dumps(config))
    for name, value in settings.items():
        *groups, leaf = name.split("__")
        node = made
        for group in groups:
            node = node[group]
        node[leaf] = value
    return made


def test_settings_of_a_source_and_of_a_stage_have_the_rules_of_the_run(config):
    assert resume_rules.rule_of("data.sources.a.b.path").kind is Kind.FREE
    assert resume_rules.general_name("stages.1.data.sources.x.weight") == "data.sources.*.weight"
    assert resume_rules.general_name("stages.0.steps") == "training.num_steps"
    assert resume_rules.rule_of("model.younger").kind is Kind.MUST_MATCH
    keys = configuration.flat_settings(config)
    assert {resume_rules.general_name(key) for key in keys} <= set(resume_rules.names())


def test_what_must_match_is_refused_with_both_values_why_and_the_flag(tmp_path, config):
    run_record.update_settings(tmp_path, config)
    given = changed(config, optimizer__learning_rate=0.5, seed=7, training__log_every=1)
    with pytest.raises(RunRecordError) as caught:
        changed_settings.accept(tmp_path, given, ["seed"])
    said = str(caught.value)
    assert "optimizer.learning_rate: 0.001 there, 0.5 now" in said
    assert "decides how far each update moves the parameters" in said
    assert "--allow-change=optimizer.learning_rate;" in said and "new --workdir" in said
    assert "seed" not in said and "log_every" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_notice_is_said_and_recorded_and_free_is_neither(tmp_path, config):
    run_record.update_settings(tmp_path, config)
    free = changed(config, training__log_every=1, data__path="/other", data__workers=7)
    accepted = changed_settings.accept(tmp_path, free)
    assert accepted.said() == []
    changed_settings.record(tmp_path, accepted, 3, [])
    assert changed_settings.recorded(tmp_path) == []
    given = changed(free, mesh__fsdp=2, optimizer__learning_rate=0.5)
    accepted = changed_settings.accept(tmp_path, given, ["optimizer.learning_rate", "data.path"])
    mesh, rate = accepted.said()
    assert mesh.startswith("mesh.fsdp: 1 there, 2 now: goes on; sums are taken")
    assert "optimizer.learning_rate: 0.001 there, 0.5 now: let through by --allow" in rate
    changed_settings.record(tmp_path, accepted, 3, ["sources.0.digest: ..."])
    run_record.update_settings(tmp_path, given)
    (entry,) = changed_settings.recorded(tmp_path)
    assert (entry["step"], entry["data"]) == (3, ["sources.0.digest: ..."])
    assert [(c["name"], c["before"], c["now"], c["allowed"]) for c in entry["settings"]] == [
        ("mesh.fsdp", 1, 2, False),
        ("optimizer.learning_rate", 0.001, 0.5, True),
    ]
    # The same command once more changes nothing, and knows the checkpoints from before.
    again = changed_settings.accept(tmp_path, given, ["optimizer.learning_rate", "data.path"])
    assert again.said() == [] and again.fingerprints == {
        run_record.fingerprint(config),
        run_record.fingerprint(given),
    }
    assert len(again.fingerprints) == 2
    changed_settings.record(tmp_path, again, 4, [])
    assert len(changed_settings.recorded(tmp_path)) == 1


@pytest.mark.parametrize("with_run", [True, False])
def test_names_that_are_unknown_or_can_never_change_are_refused(tmp_path, config, with_run):
    if with_run:
        run_record.update_settings(tmp_path, config)
    with pytest.raises(RunRecordError, match="no such setting; near are optimizer.learning_rate"):
        changed_settings.accept(tmp_path, config, ["optimizer.lerning_rate"])
    with pytest.raises(RunRecordError, match="never change: piece ids would mean other words"):
        changed_settings.accept(tmp_path, config, ["tokenizer"])
    with pytest.raises(RunRecordError, match="never change: numbers of a feature"):
        changed_settings.accept(tmp_path, config, ["contract"])


def test_the_command_line_hands_the_names_on(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "start", lambda *_, **__: "devices: those of the tests")
    given = {}

    def train(*_: Any, **named: Any) -> loop.TrainResult:
        given.update(named)
        return loop.TrainResult(4, True, tmp_path)

    monkeypatch.setattr(loop, "train", train)
    flags = runs.flags(tmp_path, data__executor="threads")
    arguments = ["train.py", f"--workdir={tmp_path}", "--allow-change=seed, data.path", *flags]
    monkeypatch.setattr("sys.argv", arguments)
    assert entry_point.main() == 0
    assert given["allow_change"] == ["seed", "data.path"]


STATE = {
    "version": 1,
    "step": 4,
    "stage": 0,
    "stage_step": 4,
    "position": [64],
    "block_size": 16,
    "tokenizer": "a",
    "sources": [{"split": "train", "digest": "a", "num_examples": 30}],
}


@pytest.mark.parametrize(
    "allowed, current, through",
    [
        ("dataset", {"sources": [{**STATE["sources"][0], "digest": "b"}]}, ["sources.0.digest"]),
        ("data.path", {"sources": [{**STATE["sources"][0], "digest": "b"}]}, ["sources.0.digest"]),
        ("data.block_size", {"block_size": 8, "position": [32]}, ["block_size", "the data goes"]),
        ("data.block_size", {"sources": [{**STATE["sources"][0], "digest": "b"}]}, None),
        ("dataset", {"tokenizer": "b"}, None),
        ("dataset", {"position": [32]}, None),  # another order of the same data is a fault
    ],
)
def test_of_the_data_only_what_is_named_is_let_through(allowed, current, through):
    if through is None:
        with pytest.raises(data_state.DataStateError):
            data_state.check_data_state(STATE, {**STATE, **current}, {allowed})
        return
    said = data_state.check_data_state(STATE, {**STATE, **current}, {allowed})
    assert len(said) == len(through)
    assert all(line.startswith(start) for line, start in zip(said, through, strict=True))
    with pytest.raises(data_state.DataStateError, match="there|trained on other data"):
        data_state.check_data_state(STATE, {**STATE, **current})


def test_a_data_state_of_a_newer_version_is_refused():
    with pytest.raises(data_state.DataStateError, match="of version 2.*newer one. Install that"):
        data_state.check_data_state({**STATE, "version": 2}, STATE)


def test_dtypes_are_cast_only_where_that_is_named(tmp_path):
    window = jax.numpy.zeros(2)
    values = {"w": jax.numpy.asarray(np.arange(4, dtype=np.float16)), "window": window}
    saver = checkpoint.Checkpointer(tmp_path, keep=1, config_sha256="a")
    saver.save(1, values, {"at": 1})
    saver.close()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = {
        "w": jax.ShapeDtypeStruct((4,), np.float32, sharding=device),
        "window": jax.ShapeDtypeStruct((2,), np.float32, sharding=device),
    }

    def restore(config: str, **named: Any) -> Any:
        opened = checkpoint.Checkpointer(tmp_path, keep=1, config_sha256=config, **named)
        return opened.restore_latest(lambda step: wanted)

    with pytest.raises(checkpoint.CheckpointError, match="Only dtypes differ: --allow-change=para"):
        restore("a")
    with pytest.raises(checkpoint.CheckpointError, match="made with other settings"):
        restore("b", casts=True)
    found = restore("b", casts=True, earlier_sha256={"a"}).state["w"]
    assert found.dtype == np.float32 and found.tolist() == [0, 1, 2, 3]
    wanted["w"] = jax.ShapeDtypeStruct((5,), np.float32, sharding=device)
    with pytest.raises(checkpoint.CheckpointError, match="of another model: w: .*config.json"):
        restore("a", casts=True)


def record_of(workdir: pathlib.Path, model: Any, **trained_on: Any) -> None:
    (workdir / "tokenizer.model").write_bytes(b"tokenizer")
    run_record.write(
        workdir,
        {"name": "x"},
        model=model,
        contract=fakes.CONTRACT,
        trained_on={"datasets": [], "video_names": [], **trained_on},
        answers=(),
        clip_labels=(),
    )


def test_the_record_says_what_else_the_run_was_trained_on(tmp_path, tiny_run):
    first, second = ({"digest": digest, "split": "train", "path": "x"} for digest in "ab")
    record_of(tmp_path, tiny_run.model, datasets=[first], video_names=["one"])
    other = dataclasses.replace(tiny_run.model, remat="full")
    given = {"datasets": [{**first, "path": "moved"}, second], "video_names": ["two"]}
    run_record.update_model(tmp_path, other, given)
    fields = json.loads((tmp_path / "run.json").read_text())
    assert fields["trained_on"]["datasets"] == [first, second]
    assert fields["trained_on"]["video_names"] == ["one", "two"]
    assert fields["model"]["remat"] == "full"
    assert "heads" not in fields["trained_on"]  # of a run that did not say, nothing is known
    record_of(tmp_path, tiny_run.model, heads=["decoder", "joint_head"])
    run_record.update_model(tmp_path, other, {**given, "heads": ["joint_head", "token_head"]})
    fields = json.loads((tmp_path / "run.json").read_text())
    assert fields["trained_on"]["heads"] == ["decoder", "joint_head", "token_head"]


def test_features_made_otherwise_are_refused_where_a_run_goes_on(tmp_path, tiny_run):
    record_of(tmp_path, tiny_run.model)
    config = configuration.load_file(str(runs.ROOT / "configs" / "tiny.py"))
    (tmp_path / "config.json").write_text(config.to_json())
    assert inputs._recorded(tmp_path, fakes.CONTRACT).answers == ()
    other = dataclasses.replace(fakes.CONTRACT, backbone="s3d")
    with pytest.raises(
        schema.ContractMismatch, match="backbone: the dataset has 's3d', the run in"
    ):
        inputs._recorded(tmp_path, other)


@pytest.mark.parametrize("file", ["run.json", "changes.json", "manifest"])
def test_files_of_a_newer_format_are_refused_with_the_remedy(tmp_path, tiny_run, file):
    if file == "manifest":
        (tmp_path / "1.json").write_text(json.dumps({"format": 3, "leaves": {}}))
        with pytest.raises(manifest.ManifestError, match="newer one. Install that"):
            manifest.read(tmp_path / "1.json")
        (tmp_path / "manifests").mkdir()
        (tmp_path / "1.json").rename(tmp_path / "manifests" / "1.json")
        restorer = restoring.Restorer(tmp_path, frozenset())
        with pytest.raises(checkpoint.CheckpointError, match="Install that.* Nothing was changed"):
            restorer.newest([1], lambda step: None)  # and it is not set aside as damaged
        return
    (tmp_path / file).write_text(json.dumps({"format": 2}))
    read = {"run.json": run_record.read, "changes.json": changed_settings.recorded}[file]
    with pytest.raises(RunRecordError, match="of format 2, .*newer one. Install that"):
        read(tmp_path)


def test_processes_must_allow_the_same(config):
    mine, other = ({**config, "allow_change": names} for names in ([], ["seed"]))
    found = processes.differences([processes.shared_settings(each) for each in (mine, other)])
    assert found == ['allow_change: [] in process 0; ["seed"] in process 1']
