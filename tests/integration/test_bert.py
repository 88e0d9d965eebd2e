"""A run that begins with a published BERT, from its first step to its export."""

import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import pytest

from tests import berts
from tests.integration import runs
from videobert_jax.export import safetensors as export
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.text.tokenizer import Tokenizer
from videobert_jax.training import checkpoint_bundle, initialization, run_record
from videobert_jax.weights import bert

pytestmark = pytest.mark.usefixtures("on_one_device")

SETTINGS: dict[str, Any] = {
    **berts.SETTINGS,
    "model.video.num_layers": 2,
    "init.bert_video_layers": 1,
    "training.num_steps": 3,
    "training.save_every": 1,
    "training.eval_every": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return berts.write(tmp_path_factory.mktemp("bert"), weights=berts.tensors(head=True))


class Bundles:
    """An evaluator that keeps what it is given. The first step's learning rate is 0, so that at
    step 1 the parameters are still those that the run began with."""

    name = "kept"

    def __init__(self) -> None:
        self.kept: list[ModelBundle] = []

    def __call__(self, bundle: ModelBundle) -> dict[str, float]:
        self.kept.append(bundle)
        return {"step": float(bundle.step)}


@pytest.fixture(scope="module")
def run(folder, tiny_dataset, tmp_path_factory) -> tuple[pathlib.Path, list[ModelBundle]]:
    """Workdir of a run that was stopped at step 2 and went on without the BERT's files."""
    workdir, evaluator = tmp_path_factory.mktemp("runs") / "bert", Bundles()
    moved = shutil.copytree(folder, workdir.parent / "published")
    settings = SETTINGS | {"init.bert": moved, "evaluators": (evaluator,)}
    stopped = runs.train(workdir, tiny_dataset, stop=lambda step: step == 2, **settings)
    assert stopped.step == 2
    shutil.rmtree(moved)
    assert runs.train(workdir, tiny_dataset, **settings).finished
    return workdir, evaluator.kept


def parts(params: dict[str, Any], like: bert.Bert) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(found, given) of every leaf of the BERT, found cut to as many rows."""
    leaf_names = initialization.manifest.named_leaves
    found = leaf_names(params)
    return {
        name: (np.asarray(found[name])[: len(given)], given)
        for name, given in leaf_names(like.params).items()
    }


def test_it_begins_with_the_weights_and_learns(run, folder):
    _, (first, *_, last) = run
    given = bert.load(folder, first.config, 1)
    assert set(given.params) >= {"text_encoder", "video_encoder", "masked_language_head"}
    for name, (found, expected) in parts(first.variables["params"], given).items():
        np.testing.assert_array_equal(found, expected, err_msg=name)
    changed = {
        n: not np.array_equal(*both) for n, both in parts(last.variables["params"], given).items()
    }
    assert all(changed.values()), [name for name, whether in changed.items() if not whether]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.variables["params"]))
    # Rows that pad the vocabulary and the video tower's second layer are as they were born.
    pieces = first.variables["params"]["text_embedding"]["pieces"]
    assert len(pieces) == 128 and pieces[len(berts.PIECES) :].std() > 0.01
    second = first.variables["params"]["video_encoder"]["stack"]["layers"]["layer"]
    assert 0 < second["attention"]["query"]["kernel"][1].std() < 0.5


def test_the_run_says_what_it_began_with(run, folder, tiny_dataset):
    workdir, bundles = run
    record = run_record.read(workdir)
    expected = {"name": "published", "sha256": bert.load(folder, bundles[0].config, 0).sha256}
    assert record.trained_on["initialized_from"] == {"bert": expected}
    tokenizer = Tokenizer(record.tokenizer_model)
    assert tokenizer.size == len(berts.PIECES)
    (ids,) = tokenizer.encode(["Stir the onions slowly"])
    assert tokenizer.decode(ids) == "stir the onions slowly"


def test_its_export_encodes_text(run, tmp_path):
    workdir, bundles = run
    bundle = checkpoint_bundle.load(str(workdir))
    assert export.save_bundle(bundle, tmp_path / "export")
    model = PretrainedModel(export.load_bundle(tmp_path / "export"))
    (ids,) = model.tokenize(["stir the onions"])
    pieces = [model.tokenizer.piece(i) for i in ids]
    assert pieces == ["[CLS]", "stir", "the", "onion", "##s", "[SEP]"]
    embedded = model.encode_text(["stir the onions", "cut the egg"])
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1.0, atol=1e-5)


def test_a_checkpoint_may_give_the_video_tower(run, folder, tiny_dataset, tmp_path, capsys):
    workdir, bundles = run
    evaluator = Bundles()
    settings = SETTINGS | {
        "init.bert": folder,
        "init.bert_video_layers": 0,
        "init.checkpoint": workdir,
        "init.modules": "video_tower",
        "evaluators": (evaluator,),
    }
    runs.train(tmp_path, tiny_dataset, stop=lambda step: step == 2, **settings)
    found = evaluator.kept[0].variables["params"]
    source = bundles[-1].variables["params"]["video_encoder"]
    assert jax.tree.all(jax.tree.map(np.array_equal, found["video_encoder"], source))
    given = bert.load(folder, evaluator.kept[0].config, 0)
    assert all(np.array_equal(*both) for both in parts(found, given).values())
    output = capsys.readouterr().out
    random = "random: bag_of_words_head, cross_encoder, joint_head, masked_video_head, "
    assert output.count(f"{random}matching_head, pooler (") == 2
    assert "taken over (video_embedding, video_encoder); random" in output
    assert f"init.bert {folder} (3 layers, weights of sha256 {given.sha256[:12]})" in output
    rows = f"{len(berts.PIECES)} of 128 rows of"
    assert f"{rows} masked_language_head/bias, {rows} text_embedding/pieces; random" in output
    begun = run_record.read(tmp_path).trained_on["initialized_from"]
    assert set(begun) == {"bert", "name", "step", "digest"}
    assert begun["bert"]["sha256"] == given.sha256
    with pytest.raises(initialization.InitializationError, match="both give text_embedding, text_"):
        runs.train(
            tmp_path / "both", tiny_dataset, **settings | {"init.modules": "text_tower,video_tower"}
        )


def test_another_tokenizer_in_the_workdir_is_refused(run, folder, tiny_dataset, tmp_path):
    other = [*berts.PIECES[:-1], "##k"]
    berts.write(tmp_path / "other", tokenizer=berts.tokenizer_json(other))
    (tmp_path / "run").mkdir()
    shutil.copy(run[0] / "tokenizer.model", tmp_path / "run")
    settings = SETTINGS | {"init.bert": tmp_path / "other"}
    with pytest.raises(initialization.InitializationError, match="47 pieces, .* 47 others"):
        runs.train(tmp_path / "run", tiny_dataset, **settings)
