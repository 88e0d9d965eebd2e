import pathlib
import shutil

import pytest

from tests.data import blocks, drawn
from videobert_jax import schema
from videobert_jax.data import index, part, writer


@pytest.fixture(scope="session")
def contract() -> schema.FeatureContract:
    return schema.FeatureContract(
        backbone="drawn",
        weights_sha256=schema.UNKNOWN,
        layer="none",
        dim=drawn.DIM,
        fps=10.0,
        frames_per_clip=16,
        stride_seconds=1.6,
        crop="none",
        normalised=False,
        dtype="float16",
    )


@pytest.fixture(scope="session")
def finished_path(tmp_path_factory, contract) -> pathlib.Path:
    path = tmp_path_factory.mktemp("datasets") / "drawn"
    out = writer.DatasetWriter(
        path, "drawn", contract, part_size=part.PartSize(videos=2), metadata={"notes": "drawn"}
    )
    drawn.fill(out)
    out.finish()
    return path


@pytest.fixture(scope="session")
def tokenizer(finished_path):
    return blocks.make_tokenizer(index.open_dataset(finished_path))


@pytest.fixture
def copied_path(finished_path, tmp_path) -> pathlib.Path:
    """A copy that a test may damage."""
    return pathlib.Path(shutil.copytree(finished_path, tmp_path / "drawn"))


@pytest.fixture
def dataset(finished_path) -> index.Dataset:
    return index.open_dataset(finished_path)
