"""A package of others gives dataset, objective, task and backbone, each by its dotted path."""

import argparse
import dataclasses
import functools
import json
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import fakes, rules
from tests.integration import runs
from videobert_jax import configuration, extensions, loading, schema
from videobert_jax.cli import evaluate, main
from videobert_jax.data import index
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import extra, passes
from videobert_jax.report_page import page
from videobert_jax.run_config import ConfigError
from videobert_jax.sharding import mesh as meshes
from videobert_jax.tasks import evaluators
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.training import checkpoint_bundle, run_record, state, steps
from videobert_jax.video import extract
from videobert_jax.weights import backbones

pytestmark = pytest.mark.usefixtures("on_one_device")

OBJECTIVE, DURATION = "my_package.objective", "my_package.duration"
WORDS = "cut stir pour the onion carrot egg pan bowl slowly now into with salt".split()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package of the examples where only its users know of it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(runs.ROOT / "examples" / "my_package", folder / "my_package")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder / "my_package"
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def dataset(package, tmp_path_factory) -> pathlib.Path:
    """Prepared by the package from csv files and features that are drawn."""
    folder = tmp_path_factory.mktemp("sentences")
    (folder / "features").mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 3)):
        lines = ["video,start,end,text"]
        for number in range(count):
            features = generator.normal(size=(12, fakes.FEATURE_DIM)).astype(np.float32)
            np.save(folder / "features" / f"{split}_{number}.npy", features)
            for start in range(0, 12, 2):
                text = " ".join(generator.choice(WORDS, size=4))
                lines.append(f"{split}_{number},{start},{start + 2},{text}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    assert prepare(folder, "my_package.dataset") == 0
    return folder / "set"


def prepare(folder: pathlib.Path, name: str) -> int:
    files = [str(folder / f"{split}.csv") for split in ("train", "validation")]
    words = ["prepare", name, "--annotations", *files, f"--features={folder / 'features'}"]
    words += ["--layout=npy", "--stride=1", "--normalised=false", f"--output={folder / 'set'}"]
    return main.main(words)


@pytest.fixture(scope="module")
def workdir(dataset, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    assert train(folder, dataset, f"{OBJECTIVE}=0.5").finished
    return folder


def train(workdir: pathlib.Path, dataset: pathlib.Path, named: str = "", **settings):
    return runs.train(
        workdir,
        dataset,
        objectives__masked_language__weight=0.0,
        optimizer__warmup_steps=1,
        training__num_steps=2,
        training__save_every=2,
        **{"objectives__extra": named, **settings},
    )


def run(*flags: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate.run(parser.parse_args([*flags, "--platform=cpu"]))


def test_its_dataset_is_prepared_and_known_by_its_name(dataset, capsys):
    found = index.open_dataset(dataset)
    assert found.name == "my_sentences"
    assert {name: len(split) for name, split in found.splits.items()} == {
        "train": 48,
        "validation": 18,
    }
    assert found.metadata["protocols"] == {"validation": "my_sentences_validation"}
    rows = (dataset.parent / "train.csv").read_text().splitlines()[1:]
    texts = found.splits["train"].texts(np.arange(48))
    assert texts == [row.split(",")[3] for row in rows]
    assert prepare(dataset.parent, "my_package.dataset") == 0
    assert "complete already" in capsys.readouterr().out


def test_a_dataset_may_write_itself(package, tmp_path):
    text = (package / "dataset.py").read_text().replace("def read(", "def _read(")
    text += """
from numpy import load
from videobert_jax import schema
from videobert_jax.data import segments, writer


def prepare(source, output):
    made = writer.DatasetWriter(output, NAME, schema.FeatureContract.from_json(CONTRACT))
    spoken = [segments.Segment(0.0, 2.0, "cut the onion")]
    made.add_video("train", "film", load(source / "film.npy"), spoken)
    return made.finish()
"""
    text += f"CONTRACT = {fakes.CONTRACT.to_json()!r}\n"
    (package / "writing.py").write_text(text)
    np.save(tmp_path / "film.npy", np.ones((3, fakes.FEATURE_DIM), np.float16))
    words = ["prepare", "my_package.writing", f"--output={tmp_path / 'set'}"]
    assert main.main([*words, f"--source={tmp_path}"]) == 0
    split = index.open_dataset(tmp_path / "set").splits["train"]
    assert list(split.videos) == ["film"] and split.texts(np.arange(1)) == ["cut the onion"]


def test_its_objective_is_logged_and_changes_the_run(workdir, dataset):
    lines = runs.figures(workdir)
    values = [line[OBJECTIVE] for line in lines if OBJECTIVE in line]
    assert len(values) == 2 and all(0 < value < 4 for value in values)  # of vectors of norm 1
    for line in lines:
        if OBJECTIVE in line:
            assert line["loss"] == pytest.approx(line["contrastive"] + 0.5 * line[OBJECTIVE])


@pytest.mark.parametrize("named", ["my_package.objective=0.25", ""])
def test_a_run_goes_on_with_the_same_objectives_alone(workdir, dataset, named):
    said = f"objectives.extra: '{OBJECTIVE}=0.5' there, '{named or '.not set.'}' now"
    with pytest.raises(run_record.RunRecordError, match=said):
        train(workdir, dataset, named)
    assert train(workdir, dataset, f"{OBJECTIVE}=0.5").finished


def test_a_step_descends_what_the_objective_is_on_paper(package, tiny_run, tiny_model_config):
    """The squared distance of vectors of norm 1 is 2 - 2 cosine; mean over all pairs of the batch,
    whichever block they are in."""
    sides = {
        side: dataclasses.replace(getattr(tiny_model_config, side), num_layers=0)
        for side in ("text", "video")
    }
    model = VideoBert(dataclasses.replace(tiny_model_config, dropout_rate=0.0, **sides))
    rule = rules.plain_sgd(0.1)
    names = list(tiny_run.objectives.weights())
    off = {n: dataclasses.replace(getattr(tiny_run.objectives, n), weight=0.0) for n in names}
    objectives = dataclasses.replace(tiny_run.objectives, **off, extra=(f"{OBJECTIVE}=0.5",))
    made = fakes.batch(2, 2)
    made.pair_weights[0, 0, 0] = 0
    batch = fakes.on_device(made)
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    born = state.create_state(model, rule, mesh, 0, None)

    def mean(params):
        found = []
        for number in range(2):
            block = jax.tree.map(lambda values: values[number], batch)  # noqa: B023
            cosines = _cosines(model, {"params": params, "constants": born.constants}, block)
            found += [2 - 2 * cosines[place] for place in np.argwhere(made.pair_weights[number])]
        return sum(found) / made.pair_weights.sum()

    expected, gradient = jax.jit(jax.value_and_grad(mean))(born.params)
    settings = {"model": model, "rule": rule, "objectives": objectives, "seed": 0}
    step = functools.partial(steps.train_step, accumulation_steps=1, num_shards=1, **settings)
    after, metrics = jax.jit(step)(born, batch)
    assert metrics[OBJECTIVE] == pytest.approx(float(expected), rel=1e-5)
    assert metrics["loss"] == pytest.approx(0.5 * float(expected), rel=1e-5)
    assert float(optax.tree.norm(gradient)) > 0.01
    jax.tree.map(
        lambda old, new, slope: np.testing.assert_allclose(new - old, -0.05 * slope, atol=1e-6),
        born.params,
        after.params,
        gradient,
    )


def _cosines(model: VideoBert, variables, block: schema.Batch):
    places = block.text_segment_ids, block.text_positions
    text = model.apply(variables, block.text_ids, *places, method="encode_text")
    places = block.video_segment_ids, block.video_positions, block.video_masked
    video = model.apply(variables, block.video_features, *places, method="encode_video")
    count = block.example_ids.shape[-1]
    sides = [
        model.apply(variables, text, block.text_segment_ids, count, method="text_embeddings"),
        model.apply(variables, video, block.video_segment_ids, count, method="video_embeddings"),
    ]
    a, b = (side / jnp.linalg.norm(side, axis=-1, keepdims=True) for side in sides)
    cosines = (a * b).sum(-1)

    class _At:
        def __getitem__(self, place):
            return cosines[tuple(place.tolist())]

    return _At()


def test_its_head_learns_as_on_paper(package, tiny_run, tiny_model_config):
    """By a statement in NumPy of the head, its errors, and the slope of its last bias."""
    network = dataclasses.replace(tiny_model_config, dropout_rate=0.0, extra_heads=(DURATION,))
    model, batch = VideoBert(network), fakes.batch(2, 2)
    names = list(tiny_run.objectives.weights())
    off = {n: dataclasses.replace(getattr(tiny_run.objectives, n), weight=0.0) for n in names}
    objectives = dataclasses.replace(tiny_run.objectives, **off, extra=(f"{DURATION}=2",))
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    rule = rules.plain_sgd(0.1)
    born = state.create_state(model, rule, mesh, 0, None)
    head = jax.device_get(born.params["extra_heads"][f"of_{DURATION}"])
    told, true, weights = [], [], []
    for block in (
        jax.tree.map(lambda values, n=n: values[n], fakes.on_device(batch)) for n in (0, 1)
    ):
        places = block.text_segment_ids, block.text_positions
        text = np.asarray(
            model.apply(born.variables, block.text_ids, *places, method="encode_text")
        )
        block = jax.device_get(block)
        for row, example in np.ndindex(block.example_ids.shape):
            mean = text[row][block.text_segment_ids[row] == example + 1].mean(0)
            hidden = mean @ head["hidden"]["kernel"] + head["hidden"]["bias"]
            hidden *= (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3))) / 2
            told.append((hidden @ head["length"]["kernel"] + head["length"]["bias"])[0])
            true.append(np.log2((block.video_segment_ids[row] == example + 1).sum()))
            weights.append(block.pair_weights[row, example])
    errors, weights = np.array(told) - np.array(true), np.array(weights)
    settings = {"model": model, "rule": rule, "objectives": objectives, "seed": 0}
    step = functools.partial(steps.train_step, accumulation_steps=1, num_shards=1, **settings)
    after, metrics = jax.jit(step)(born, fakes.on_device(batch))
    expected = (weights * errors**2).sum() / weights.sum()
    assert metrics[DURATION] == pytest.approx(expected, rel=1e-4)
    moved = after.params["extra_heads"][f"of_{DURATION}"]["length"]["bias"] - head["length"]["bias"]
    assert moved == pytest.approx(-0.1 * 2 * (weights * 2 * errors).sum() / weights.sum(), rel=1e-4)


def test_its_head_is_trained_and_taken_over_but_not_used(dataset, tmp_path, monkeypatch):
    settings = {"objectives__extra": f"{DURATION}=1", "model__extra_heads": DURATION}
    assert train(tmp_path / "first", dataset, **settings).finished
    first = _head_of(tmp_path / "first")
    assert train(
        tmp_path / "second", dataset, init__checkpoint=str(tmp_path / "first"), **settings
    ).finished
    second = _head_of(tmp_path / "second")
    # two steps of at most a hundredth: what was drawn anew would be further away
    assert 0 < np.abs(first - second).max() < 0.05
    with pytest.raises(run_record.RunRecordError, match="model.extra_heads"):
        train(tmp_path / "first", dataset, "")
    # whoever uses the network need not have the package
    monkeypatch.setitem(sys.modules, "my_package", None)
    monkeypatch.setitem(sys.modules, DURATION, None)
    exported = tmp_path / "export"
    assert main.main(["export", f"--checkpoint={tmp_path / 'first'}", f"--output={exported}"]) == 0
    assert run(f"--workdir={tmp_path / 'first'}", "--task=retrieval") == 0
    for name in (tmp_path / "first", exported):
        bundle = loading.load_bundle(str(name))
        assert not bundle.config.extra_heads and "extra_heads" not in bundle.variables["params"]


def _head_of(workdir: pathlib.Path) -> np.ndarray:
    bundle = checkpoint_bundle.load(str(workdir), extra_heads=True)
    return bundle.variables["params"]["extra_heads"][f"of_{DURATION}"]["hidden"]["kernel"]


def test_every_objective_draws_by_a_key_of_its_own(package, tiny_run, tiny_model_config):
    for name in ("one", "other"):
        (package / f"{name}.py").write_text(
            "import jax\n\ndef weight(block): return 1.0\n"
            "def total(model, variables, block, encoded, key): return jax.random.uniform(key)\n"
        )
    named = ("my_package.one=1", "my_package.other=1", "my_package.objective=0")
    config = dataclasses.replace(tiny_run.objectives, extra=named)
    block, encoded = fakes.on_device(fakes.block(1)), passes.Encoded(None, None, None, None)
    inputs = (VideoBert(tiny_model_config), None, block, encoded, jax.random.key(0), config)
    found = extra.totals(*inputs)
    assert set(found) == {"my_package.one", "my_package.other"}
    assert len({float(value) for value in found.values()}) == 2


def test_its_task_writes_a_record(workdir, dataset, capsys):
    assert run(f"--workdir={workdir}", "--task=my_package.task", f"--report={workdir}") == 0
    record = json.loads((workdir / "eval" / "my_package.task.json").read_text())
    assert record["task"] == "nearness" and record["dataset"]["num_evaluated"] == 18
    lines = (workdir / "eval" / "my_package.task.examples.jsonl").read_text().splitlines()
    cosines = [json.loads(line)["cosine"] for line in lines]
    assert record["metrics"]["cosine"] == pytest.approx(np.mean(cosines), abs=1e-6)
    low, high = record["intervals"]["cosine"]
    assert low <= record["metrics"]["cosine"] <= high
    assert "my_package.task" in capsys.readouterr().out
    assert "my_sentences/validation" in (workdir / page.FILE).read_text()


def test_its_task_may_be_measured_in_training(package):
    asked = ("retrieval", "my_package.task")
    known = evaluate.known_tasks(asked)
    evaluators.require_known(asked, known)
    with pytest.raises(extensions.ExtensionError, match="my_package.objective has no NAME and no"):
        evaluate.known_tasks(["my_package.objective"])


def test_a_task_that_gives_no_result_is_refused(package, workdir):
    (package / "silent.py").write_text("NAME = 'silent'\ndef evaluate(context): return {}\n")
    with pytest.raises(EvaluationError, match="gave a dict; expected a TaskResult"):
        run(f"--workdir={workdir}", "--task=my_package.silent")


def test_its_backbone_makes_features_that_say_where_it_is(package, tmp_path):
    made, settings = backbones.load_backbone("my_package.backbone")
    extractor = extract.ClipExtractor(made, settings)
    frames = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    expected = [frames[first : first + 8].mean((0, 1, 2)) / 255 for first in (0, 8)]
    np.testing.assert_allclose(extractor.features(frames), expected, atol=1e-3)
    contract = extractor.contract
    assert contract.backbone == "my_package.backbone"
    np.save(tmp_path / "scale.npy", np.full(3, 2, np.float32))
    scaled, _ = backbones.load_backbone("my_package.backbone", tmp_path / "scale.npy")
    doubled = extract.ClipExtractor(scaled, settings)
    np.testing.assert_allclose(doubled.features(frames), 2 * np.array(expected), atol=2e-3)
    again, at_stride = backbones.of_contract(dataclasses.replace(contract, stride_seconds=0.5))
    assert again.name == made.name and at_stride.stride_frames == 4


def test_a_contract_imports_nothing(package):
    """A dataset or a model by others could else have any module here run."""
    (package / "trap.py").write_text("raise SystemExit('imported')\n")
    contract = dataclasses.replace(fakes.CONTRACT, backbone="my_package.trap")
    with pytest.raises(backbones.BackboneError, match="import it first"):
        backbones.of_contract(contract)


def test_a_backbone_has_the_name_that_it_is_found_by(package):
    text = (package / "backbone.py").read_text().replace("name=__name__", "name='colours'")
    (package / "renamed.py").write_text(text)
    with pytest.raises(backbones.BackboneError, match="gave 'colours'.*name 'my_package.renamed'"):
        backbones.load_backbone("my_package.renamed")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere_at_all.objective=1", "no module nowhere_at_all; install the package"),
        ("my_package.absent=1", "no module my_package.absent;"),
        ("my_package.task=1", "my_package.task has no weight and no total; expected are weight"),
        ("my_package.objective", "found 'my_package.objective'; expected package.module=WEIGHT"),
        ("my_package.objective=nan", "expected package.module=WEIGHT"),
        ("alignment=1", "expected package.module=WEIGHT"),
        ("my_package.objective=1,my_package.objective=2", "each once"),
        ("my_package.objective=-1", "none may be negative"),
        ("my_package.duration=1", "has a Head of its own.*say --config.model.extra_heads=my_pack"),
    ],
)
def test_an_objective_that_cannot_be_is_said_before_anything_begins(package, named, said):
    config = configuration.load_file(str(runs.ROOT / "configs" / "tiny.py"))
    configuration.apply_override(config, "objectives.extra", named)
    with pytest.raises(ConfigError, match=said):
        configuration.parse(config)


def test_what_goes_wrong_inside_a_module_keeps_its_traceback(package):
    (package / "broken.py").write_text("import nowhere_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        extensions.load("my_package.broken", (), "--task")


def test_prepare_says_what_a_dataset_lacks(package, tmp_path, capsys):
    output = f"--output={tmp_path / 'set'}"
    assert main.main(["prepare", "my_package.task", output]) == 2
    assert "which has no read either: my_package.task has no prepare" in capsys.readouterr().err
    assert main.main(["prepare", "my_package.absent", output]) == 2
    assert "there is no module my_package.absent" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["prepare", "absent", output])
    assert "choose from activitynet_captions" in capsys.readouterr().err
