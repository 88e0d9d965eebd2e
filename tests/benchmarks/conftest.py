"""A few videos of the embedded corpus for a tiny LXMERT."""

import dataclasses
import pathlib

import pytest

from benchmarks import lxmert_column, lxmert_kitchen
from videobert_jax.kitchen import assets, dataset, question_dataset

VIDEOS = {"train": 6, "validation": 1, "test": 2}
SETTINGS = {
    "model.embed_dim": 32,
    "model.num_heads": 2,
    "model.feed_forward_dim": 64,
    "data.block_size": 8,
    "optimizer.warmup_steps": 1,
    "training.num_steps": 4,
}
TEST = "test"


@pytest.fixture(scope="session")
def shipped() -> assets.KitchenAssets:
    found = assets.load()
    chosen = [
        video
        for split, count in VIDEOS.items()
        for video in [of for of in found.videos if of.split == split][:count]
    ]
    transcripts = dict(list(found.transcripts.items())[:4])
    return dataclasses.replace(found, videos=tuple(chosen), transcripts=transcripts)


@pytest.fixture(scope="session")
def data(shipped, tmp_path_factory) -> pathlib.Path:
    """The folder of the corpus and of its questions."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "load", lambda: shipped)
        dataset.prepare(folder / "kitchen")
        question_dataset.prepare(folder / "kitchen_qa")
    return folder


@pytest.fixture(scope="session")
def column(data, tmp_path_factory) -> lxmert_column.Column:
    return lxmert_column.Column(data, tmp_path_factory.mktemp("lxmert"), SETTINGS, splits=(TEST,))


@pytest.fixture(scope="session")
def corpora(column) -> dict[str, lxmert_kitchen.Corpus]:
    return {stage: column._corpus(stage, 0) for stage in lxmert_column.STAGES}


def with_ends(corpus: lxmert_kitchen.Corpus, text: str) -> list[int]:
    pieces = corpus.tokenizer.encode([text])[0]
    return [corpus.tokenizer.cls_id, *pieces, corpus.tokenizer.sep_id]
