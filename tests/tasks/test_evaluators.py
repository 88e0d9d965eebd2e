"""The evaluation during training: the same figures as the record's, wherever the parameters lie."""

import dataclasses
import gc
import weakref

import jax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from videobert_jax.data import index
from videobert_jax.sharding import mesh as meshes
from videobert_jax.tasks import evaluators, fill_mask, programs, retrieval
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError


def periodic(run, *names):
    def measure(context, name):
        assert name == "fill_mask"
        return fill_mask.evaluate(context)

    names = names or ("retrieval",)
    return evaluators.periodic(run, names, measure)


@pytest.fixture
def run(tiny_run, bundle):
    return dataclasses.replace(tiny_run, data=bundle.data)


def test_sharded_parameters_give_the_figures_of_the_record(run, bundle, dataset):
    (evaluator,) = periodic(run)
    mesh = meshes.create_mesh(meshes.MeshConfig(data=2, fsdp=4, tensor=1))

    def place(leaf):
        split = PartitionSpec("fsdp") if leaf.ndim and leaf.shape[0] % 4 == 0 else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, split))

    sharded = dataclasses.replace(bundle, variables=jax.tree.map(place, bundle.variables))
    figures = evaluator(sharded)
    context = EvaluationContext(bundle, dataset, dataset.split("validation"), 0)
    record = retrieval.evaluate(context, shortlist=0).metrics
    assert figures.pop("num_candidates") == 20
    assert "text_to_video_R5" in figures
    assert figures == pytest.approx({name: record[name] for name in figures})


def test_the_network_is_compiled_once_a_run(run, bundle):
    (evaluator,) = periodic(run)
    first = evaluator(bundle)
    compiled = programs.compiled.cache_info()
    changed = jax.tree.map(lambda leaf: leaf * 1.5, bundle.variables)
    assert evaluator(dataclasses.replace(bundle, variables=changed)) != first
    later = programs.compiled.cache_info()
    assert later.misses == compiled.misses and later.hits == compiled.hits + 1


def test_towers_that_nothing_compared_have_no_figures(run, bundle):
    (evaluator,) = periodic(run)
    for heads, told in (([], False), (["joint_head"], True)):
        trained_on = {**bundle.trained_on, "heads": heads}
        assert bool(evaluator(dataclasses.replace(bundle, trained_on=trained_on))) == told


def test_a_run_without_validation_pairs_has_no_evaluator(run, tmp_path):
    from tests import fakes
    from videobert_jax.data import writer

    out = writer.DatasetWriter(tmp_path / "data", "other", fakes.CONTRACT)
    out.add_video("train", "a", None, [writer.Segment(0.0, 1.0, "cut the egg")])
    path = out.finish().path
    assert index.open_dataset(path).splits.keys() == {"train"}
    data = dataclasses.replace(run.data, path=str(path))
    run = dataclasses.replace(run, data=data)
    assert periodic(run) == []
    with pytest.raises(EvaluationError, match="fill_mask: .* has no split 'validation'"):
        periodic(run, "fill_mask")


@pytest.mark.long
def test_any_task_gives_the_figures_of_its_record(run, bundle, dataset):
    evaluator, of_retrieval = reversed(periodic(run, "fill_mask", "retrieval"))
    assert (evaluator.name, of_retrieval.name) == ("fill_mask", "retrieval")
    figures = evaluator(bundle)
    context = EvaluationContext(bundle, dataset, dataset.split("validation"), 0)
    assert figures == fill_mask.evaluate(context).metrics
    assert evaluator(bundle) == figures


@pytest.mark.long
def test_tasks_share_their_baselines_and_keep_no_network(run, bundle):
    seen = []

    def measure(context, name):
        split = context.split
        seen.append((context.fits.features(split)[1], weakref.ref(context.runner)))
        return fill_mask.evaluate(context)

    tasks = evaluators.periodic(run, ("fill_mask", "captions"), measure)
    for task in (*tasks, tasks[0]):
        task(bundle)
    gc.collect()
    assert len(seen) == 3
    assert all(features is seen[0][0] and runner() is None for features, runner in seen)


@pytest.mark.parametrize("names", [("captions",), ("fill_mask", "fill_mask")])
def test_tasks_that_cannot_be_measured_are_an_error(names):
    evaluators.require_known(("retrieval",), ("retrieval", "fill_mask"))
    with pytest.raises(EvaluationError, match="expected some of retrieval, fill_mask, each once"):
        evaluators.require_known(names, ("retrieval", "fill_mask"))
