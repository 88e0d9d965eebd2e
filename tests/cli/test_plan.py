import dataclasses
import json
import sys
import types

import pytest

from videobert_jax import configuration
from videobert_jax.cli import main, plan
from videobert_jax.training import collectives, estimate, roofline, search
from videobert_jax.training import plan as planning

RUN = configuration.parse(configuration.load_file("configs/tiny.py"))
GATHERED = collectives.Collective("all-gather", ("fsdp",), False, 4, 2_000_000, 12, "layers")
REDUCED = collectives.Collective("all-reduce", (), True, 2, 1_000_000, 1, "")
PLAN = planning.Plan(
    config="tiny",
    stage="",
    target="2 x v5e:2x2",
    num_devices=8,
    device_kind="TPU v5 lite",
    mesh={"data": 2, "fsdp": 4, "tensor": 1},
    global_batch_size=8000,
    tokens=1024,
    remat="full",
    accumulation_steps=1,
    parameters=10**6,
    flops=19.7e12,
    fits=True,
    memory={"parameters": 2**30, "temporaries": 2**31, "constants": 17},
    needed_bytes=3 * 2**30,
    available_bytes=4 * 2**30,
    reason=None,
    bytes_accessed=8 * 10**9,
    collectives=(GATHERED, REDUCED),
    roofline=roofline.Roofline(0.1, 0.01, 0.2, 0.05),
    input=planning.InputRate(2, 20_000.0, 60_000.0, 2e9),
    compile_seconds=1.0,
    compiler="libtpu 1, jax 2",
)


def test_a_plan_says_what_it_needs_and_what_bounds_it():
    text = plan.describe(PLAN)
    for line in (
        "tiny compiled for 2 x v5e:2x2: 8 x TPU v5 lite; mesh data 2, fsdp 4, tensor 1",
        "yes, needs 3.00 GiB of 4.00 GiB a device",
        "memory a device     parameters 1.00 GiB, temporaries 2.00 GiB\n",
        "products            19.700 TFLOP a device and step",
        "memory traffic      8.00 GB a device and step",
        "collectives         24.0 MB in 12 all-gather over fsdp",
        "                    1.0 MB in 1 all-reduce between slices",
        "network: arithmetic 100.0 ms, memory 10.0 ms, network 200.0 ms, network between slices",
        "at that bound       40,000 examples a second",
        "20,000 examples, 60,000 records, 2,000 MB a second in each of 2 processes",
    ):
        assert line in text
    fields = json.loads(json.dumps(plan.as_json(PLAN)))
    sent = {total["kind"]: total["bytes_a_step"] for total in fields["collective_totals"]}
    assert sent == {"all-gather": 24_000_000, "all-reduce": 1_000_000}
    assert (fields["bound"], fields["examples_a_second"]) == ("network", 40_000)


def test_a_plan_that_does_not_fit_says_by_how_much(monkeypatch, capsys):
    large = dataclasses.replace(
        PLAN, fits=False, needed_bytes=6 * 2**30, reason="RESOURCE_EXHAUSTED", roofline=None
    )
    change = types.SimpleNamespace(
        settings={"model.remat": "full"}, flags="--config.model.remat=full"
    )
    monkeypatch.setattr(planning, "compile_for", lambda *given: large)
    monkeypatch.setattr(search, "fitting", lambda *given: [(change, 2 * 2**30)])
    assert main.main(["plan", "--config=configs/tiny.py", "--device-memory=4GiB"]) == 1
    text = capsys.readouterr().out
    assert "NO: needs 6.00 GiB of 4.00 GiB a device, 2.00 GiB too much" in text
    assert "would fit           --config.model.remat=full  (about 2.00 GiB)" in text
    monkeypatch.setattr(search, "fitting", lambda *given: [])
    main.main(["plan", "--config=configs/tiny.py", "--device-memory=4GiB"])
    assert "take more devices, devices of more memory" in capsys.readouterr().out


def test_a_search_compiles_the_best_and_gives_flags_to_copy(monkeypatch, capsys):
    def found(remat, needed):
        model = dataclasses.replace(RUN.model, remat=remat)
        none = roofline.Sent(0.0, 0.0)
        estimated = estimate.Estimate({"temporaries": needed}, 1.0, 1.0, none)
        run = dataclasses.replace(RUN, model=model)
        return search.Candidate({"model.remat": remat}, run, estimated, None)

    arranged = [found("none", 2**40), found("full", 0), found("dots", 0)]
    monkeypatch.setattr(search, "candidates", lambda *given: arranged)
    times = {"full": 0.4, "dots": 0.1}

    def compiled(run, target, feature_dim, stage):
        bound = roofline.Roofline(times[run.model.remat], 0.0, 0.0, 0.0)
        return dataclasses.replace(PLAN, roofline=bound)

    monkeypatch.setattr(planning, "compile_for", compiled)
    assert main.main(["plan", "--config=configs/tiny.py", "--topology=v5e:4x4", "--search"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny on v5e:4x4: 3 arrangements estimated, 2 compiled"
    assert lines[2].split() == [
        "yes", "3.00", "19.70", "80,000", "arithmetic", "--config.model.remat=dots"
    ]  # fmt: skip
    assert lines[3].split()[3] == "20,000"


@pytest.mark.parametrize(
    ("text", "size"), [("24GiB", 24 * 2**30), ("80GB", 80 * 10**9), ("1.5 GiB", 3 * 2**29)]
)
def test_sizes_of_memory(text, size):
    assert plan._size(text) == size


def test_bad_sizes_and_slices_are_answered(capsys):
    with pytest.raises(SystemExit):
        main.main(["plan", "--config=configs/tiny.py", "--device-memory=24"])
    assert "'24' is no size such as 24GiB or 80GB" in capsys.readouterr().err
    assert main.main(["plan", "--config=configs/tiny.py", "--topology=v5e:3x5"]) == 2
    assert "v5e: 1x1, 2x2, 2x4, 4x4, 4x8, 8x8, 8x16, 16x16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "needed"),
    [
        ("Ran out of memory in memory space hbm. Used 23.5G of 15.75G hbm. Exceeded", 23.5),
        (
            "Ran out of memory on HBM, the total memory required for HLO temporaries (228.92G) "
            "exceeds available HBM (15.75G).",
            228.92,
        ),
    ],
)
def test_memory_is_read_from_the_compilers_message(message, needed):
    assert planning.refused_bytes(f"RESOURCE_EXHAUSTED: {message}") == int(needed * 2**30)
    assert planning.refused_bytes("RESOURCE_EXHAUSTED: of something else") is None


def test_without_libtpu_the_install_line_is_given(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    assert main.main(["plan", "--config=configs/tiny.py", "--topology=v5e:1x1"]) == 2
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

    def compiled(run, target, feature_dim, stage):
        planned[stage] = run.data.blocks_per_batch
        return dataclasses.replace(PLAN, stage=stage, fits=stage == "stages.0")

    monkeypatch.setattr(planning, "compile_for", compiled)
    monkeypatch.setattr(search, "fitting", lambda *given: [])
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


def test_slices_are_of_a_topology(capsys):
    flags = ["plan", "--config=configs/tiny.py", "--device-memory=24GiB", "--slices=2"]
    assert main.main(flags) == 2
    assert "--slices=2 is of a --topology" in capsys.readouterr().err
