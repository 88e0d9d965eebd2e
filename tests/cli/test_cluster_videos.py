"""The command on a tiny dataset: one order, the same each time, which a run's blocks follow."""

import numpy as np
import pytest

from tests import bundles
from tests.integration import runs
from videobert_jax import configuration
from videobert_jax.cli import cluster_videos, main
from videobert_jax.data import index, neighbours
from videobert_jax.export import safetensors
from videobert_jax.training import inputs


@pytest.fixture(scope="module")
def export(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("near") / "export"
    safetensors.save_bundle(bundles.tiny(tiny_run), path, force=False)
    return path


def run(export, dataset, output, *options) -> int:
    words = ("cluster-videos", "--checkpoint", export, "--dataset", dataset, "--output", output)
    return main.main([str(word) for word in (*words, "--platform", "cpu", *options)])


def open_run(dataset, workdir, **settings):
    path, *flags = runs.flags(dataset, **settings)
    config = configuration.load_file(path.removeprefix("--config="))
    for flag in flags:
        name, _, text = flag.removeprefix("--config.").partition("=")
        configuration.apply_override(config, name, text)
    workdir.mkdir()
    return inputs.open_inputs(configuration.parse(config), workdir, None, None, begins=True)


def test_videos_are_put_in_order_for_a_run(export, tiny_dataset, tmp_path, capsys):
    path, again = tmp_path / "near.safetensors", tmp_path / "again.safetensors"
    assert run(export, tiny_dataset, path) == 0 and run(export, tiny_dataset, again) == 0
    assert path.read_bytes() == again.read_bytes()
    printed = capsys.readouterr().out
    assert "12 videos of tiny/train in order: mean cosine of 64 side by side" in printed
    table, split = neighbours.load(path), index.open_dataset(tiny_dataset).split("train")
    assert sorted(table.videos.tolist()) == list(range(12))
    assert table.about["checkpoint"] == "tiny" and table.about["checkpoint_step"] == 20
    assert table.about["split_digest"] == split.digest and table.about["num_examples"] == len(split)

    named = f"{path}@{table.digest[:12]}"
    assert f"data.sources.NAME.neighbours={named}" in printed
    near = {"data__sources__main__neighbours": named, "data__sources__main__neighbour_videos": 2}
    opened = open_run(tiny_dataset, tmp_path / "run", **near)
    (order,) = opened.builders[0].near_orders
    assert order.window % 4 == 0 and "near videos together" in opened.names[0]
    ids = opened.builders[0].build(3).batch.example_ids
    plain = open_run(tiny_dataset, tmp_path / "plain").builders[0].build(3).batch.example_ids
    of_order = np.concatenate([np.flatnonzero(split.video == video) for video in table.videos])
    places = np.sort(np.argsort(of_order)[ids.reshape(-1)])
    gaps = np.diff(np.append(places, places[0] + len(split)))
    assert len(split) - gaps.max() < order.window and ids.tolist() != plain.tolist()


def test_another_split_is_refused_before_anything_runs(export, tiny_dataset, tmp_path):
    path = tmp_path / "near.safetensors"
    assert run(export, tiny_dataset, path, "--split", "validation") == 0
    with pytest.raises(neighbours.NeighboursError, match="is of split 'validation' of tiny"):
        open_run(tiny_dataset, tmp_path / "run", data__sources__main__neighbours=path)


def test_cosines_are_those_of_all_pairs_of_neighbours():
    vectors = np.random.default_rng(0).normal(size=(7, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [(a, b) for s in (range(3), range(3, 6)) for a in s for b in s if a != b]
    expected = np.mean([vectors[a] @ vectors[b] for a, b in pairs])
    assert cluster_videos.mean_cosine(vectors, 3) == pytest.approx(expected)
