import dataclasses
import json
import sys

import pytest

from videobert_jax.cli import main, plan
from videobert_jax.training import plan as planning

PLAN = planning.Plan(
    config="tiny",
    stage="",
    topology="v5e:2x2",
    num_devices=4,
    device_kind="TPU v5 lite",
    mesh={"data": 4, "fsdp": 1, "tensor": 1},
    global_batch_size=8,
    parameters=1000,
    flops=1e6,
    fits=True,
    argument_bytes=None,
    peak_bytes=None,
    available_bytes=None,
    reason=None,
    collectives=None,
    compile_seconds=1.0,
)


@pytest.mark.parametrize(
    ("message", "needed", "available"),
    [
        ("Ran out of memory in memory space hbm. Used 23.5G of 15.75G hbm. Exceeded", 23.5, 15.75),
        (
            "Ran out of memory on HBM, the total memory required for HLO temporaries (228.92G) "
            "exceeds available HBM (15.75G).",
            228.92,
            15.75,
        ),
    ],
)
def test_memory_is_read_from_the_compilers_message(message, needed, available):
    found = planning.memory_of(f"RESOURCE_EXHAUSTED: {message}")
    assert found == (int(needed * 2**30), int(available * 2**30))
    assert planning.memory_of("RESOURCE_EXHAUSTED: of something else") == (None, None)


def test_collectives_are_counted_once_each():
    program = """
      %all-gather-start.1 = (f32[2], f32[8]) all-gather-start(%p0), dimensions={0}
      %all-gather-done.1 = f32[8] all-gather-done(%all-gather-start.1)
      %all-reduce.7 = f32[8] all-reduce(%x), to_apply=%add
      %all-reduce.8 = (f32[8], f32[]) all-reduce(%x, %all-reduce.7), to_apply=%add
      ROOT %y = f32[2] reduce-scatter(%all-reduce.8)
    """
    counted = planning.count_collectives(program)
    assert counted == {"all-gather": 1, "all-reduce": 2, "reduce-scatter": 1}


def test_without_libtpu_the_install_line_is_given(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    assert main.main(["plan", "--config=configs/tiny.py", "--topology=v5e:2x2"]) == 2
    assert 'pip install "videobert-jax[tpu-compiler]"' in capsys.readouterr().err


def test_every_stage_is_planned(capsys, monkeypatch, tmp_path):
    (tmp_path / "staged.py").write_text(
        "from configs import base, tiny\n"
        "def get_config():\n"
        "    config = tiny.get_config()\n"
        "    blocks = {'data.blocks_per_batch': 2}\n"
        "    config.stages = [base.stage(8, {}), base.stage(12, blocks)]\n"
        "    return config\n"
    )
    planned = {}

    def compiled(run, topology, feature_dim, stage):
        planned[stage] = run.in_stages()[stage].data.blocks_per_batch
        return dataclasses.replace(PLAN, stage=stage, fits=stage == "stages.0")

    monkeypatch.setattr(planning, "compile_for", compiled)
    flags = ("plan", f"--config={tmp_path / 'staged.py'}", "--topology=v5e:2x2", "--json")
    assert main.main(flags) == 1
    assert planned == {"stages.0": 1, "stages.1": 2}
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(plan["stage"], plan["fits"]) for plan in made] == [
        ("stages.0", True),
        ("stages.1", False),
    ]


def test_settings_are_flags_as_in_training(capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr(plan, "run", lambda arguments: seen.update(vars(arguments)) or 0)
    main.main(["plan", "--config=a", "--topology=b", "--config.mesh.fsdp=2"])
    assert seen["settings"] == [("mesh.fsdp", "2")]
    with pytest.raises(SystemExit):
        main.main(["plan", "--config=a", "--topology=b", "--mesh.fsdp=2"])
    with pytest.raises(SystemExit):
        main.main(["export", "--checkpoint=a", "--output=b", "--config.mesh.fsdp=2"])
    assert "unknown arguments: --config.mesh.fsdp=2" in capsys.readouterr().err
