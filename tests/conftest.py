"""Eight CPU devices, strict promotion, a compilation cache, and small inputs for all tests."""

import gc
import os
import pathlib
from collections.abc import Iterator
from typing import Any

# Tracing makes objects by the million, few of them garbage: collected as often as Python does it, a
# tenth of the time goes into looking.
gc.set_threshold(50_000, 20, 50)
# Said before jax starts; subprocesses of tests inherit it.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
# Test time is compile time; what is compared does not depend on how far XLA optimises, nor on which
# of its emitters writes fusions: without the newer ones a program compiles in three quarters.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"
).strip()

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

from tests import fakes
from videobert_jax import configuration, schema
from videobert_jax.data import segments
from videobert_jax.models.config import ModelConfig
from videobert_jax.sharding import mesh as meshes

# The longest files of each tier, in `tests`; they begin first, so that the workers of a run end
# together.
LONGEST = (
    "integration/test_two_processes.py",
    "integration/test_exact.py",
    "training/test_steps.py",
    "drills/test_topologies.py",
    "drills/test_kill_and_resume.py",
    "training/test_exact_step.py",
    "cli/test_extract_command.py",
    "parity/test_bucket_run.py",
    "parity/test_evaluation_by_processes.py",
    "parity/test_compile_budgets.py",
    "export/test_onnx.py",
)


class Passed:
    """Appends the names of tests that pass to a file."""

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """So that what passed without peers and extras is not run again with them."""
    parser.addoption("--passed-to", type=pathlib.Path, help="file for names of tests that pass")
    parser.addoption("--but-passed", type=pathlib.Path, help="such a file: these are left out")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--passed-to")
    if file is not None and not hasattr(config, "workerinput"):  # workers report to the first
        config.pluginmanager.register(Passed(file))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (passed := config.getoption("--but-passed")) is not None:
        names = set(passed.read_text(encoding="utf-8").splitlines())
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in names])
        items[:] = [item for item in items if item.nodeid not in names]
    for item in items:
        if item.path.parent.name == "integration":  # whole runs, each of which compiles a step
            item.add_marker(pytest.mark.long)
    rank = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session")
def tiny_run() -> configuration.RunConfig:
    """Settings of configs/tiny.py."""
    return configuration.parse(configuration.load_file(str(ROOT / "configs" / "tiny.py")))


@pytest.fixture(scope="session")
def tiny_model_config(tiny_run: configuration.RunConfig) -> ModelConfig:
    """Model settings of configs/tiny.py for 300 pieces and clip features of 24 dimensions."""
    return configuration.resolve_model(tiny_run, vocabulary_size=300, feature_dim=fakes.FEATURE_DIM)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A prepared dataset of 12 training and 4 validation videos with random clip features."""
    from videobert_jax.data.writer import DatasetWriter

    output = tmp_path_factory.mktemp("datasets") / "tiny"
    writer = DatasetWriter(output, "tiny", fakes.CONTRACT)
    generator = np.random.default_rng(0)
    words = "cut stir pour the onion carrot egg pan bowl slowly now into with salt".split()
    for split, count in (("train", 12), ("validation", 4)):
        for video in range(count):
            clips = int(generator.integers(6, 20))
            features = generator.normal(size=(clips, fakes.FEATURE_DIM)).astype(np.float16)
            cues = [
                segments.Segment(
                    start=float(first),
                    end=float(first + 2),
                    text=" ".join(generator.choice(words, size=generator.integers(3, 9))),
                )
                for first in range(0, clips - 2, 2)
            ]
            writer.add_video(split, f"{split}_{video}", features, cues)
    writer.finish()
    return output


@pytest.fixture(scope="session")
def packed_shape() -> schema.RowShape:
    """Rows of two examples, as `fakes.batch` fills them."""
    return fakes.PACKED_SHAPE


@pytest.fixture(scope="module")
def on_one_device() -> Iterator[None]:
    """Meshes of the first device, for runs that are not about several: a step for one compiles in
    half the time of a step that is split over eight."""
    create = meshes.create_mesh

    def on_one(config: meshes.MeshConfig, devices: Any = None) -> jax.sharding.Mesh:
        return create(config, devices or jax.devices()[:1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, "create_mesh", on_one)
        yield
