"""The evaluation during training: the same figures as the record's, wherever the parameters lie."""

import dataclasses

import jax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from videobert_jax.data import index
from videobert_jax.sharding import mesh as meshes
from videobert_jax.tasks import encoding, evaluators, retrieval
from videobert_jax.tasks.context import EvaluationContext


@pytest.fixture
def run(tiny_run, bundle):
    return dataclasses.replace(tiny_run, data=bundle.data)


def test_sharded_parameters_give_the_figures_of_the_record(run, bundle, dataset):
    (evaluator,) = evaluators.periodic(run)
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
    (evaluator,) = evaluators.periodic(run)
    first = evaluator(bundle)
    compiled = encoding._compiled.cache_info()
    changed = jax.tree.map(lambda leaf: leaf * 1.5, bundle.variables)
    assert evaluator(dataclasses.replace(bundle, variables=changed)) != first
    later = encoding._compiled.cache_info()
    assert later.misses == compiled.misses and later.hits == compiled.hits + 1


def test_a_run_without_validation_pairs_has_no_evaluator(run, tmp_path):
    from tests import fakes
    from videobert_jax.data import writer

    out = writer.DatasetWriter(tmp_path / "data", "other", fakes.CONTRACT)
    out.add_video("train", "a", None, [writer.Segment(0.0, 1.0, "cut the egg")])
    path = out.finish().path
    assert index.open_dataset(path).splits.keys() == {"train"}
    data = dataclasses.replace(run.data, path=str(path))
    assert evaluators.periodic(dataclasses.replace(run, data=data)) == []
