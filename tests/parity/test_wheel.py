"""The wheel as a packager makes it: what it needs, what it holds, and that it runs by itself.

It is built by the setuptools that is here, without a network.
"""

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement

import videobert_jax

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORE = {
    "jax",
    "flax",
    "numpy",
    "ml_dtypes",
    "safetensors",
    "sentencepiece",
    "jaxtyping",
    "packaging",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """Built of a copy: a build leaves folders beside its source."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def metadata(wheel) -> importlib.metadata.PackageMetadata:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return importlib.metadata.PathDistribution(zipfile.Path(wheel, f"{name[:-8]}")).metadata


def test_the_core_is_light_and_the_rest_are_extras(metadata):
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    core = {of.name for of in requirements if "extra" not in str(of.marker)}
    assert core == CORE
    extras = set(metadata.get_all("Provides-Extra") or [])
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert extras == set(said["tool"]["setuptools"]["dynamic"]["optional-dependencies"])
    train = {
        of.name
        for of in requirements
        if of.marker is not None and of.marker.evaluate({"extra": "train"})
    }
    assert {"tensorflow-datasets", "array-record", "ml-collections", "tokenizers"} <= train - CORE
    assert metadata["Version"] == videobert_jax.__version__


def test_a_clone_and_the_extra_train_have_the_same_requirements():
    """requirements.txt is for clones, `videobert-jax[train]` for a program around the package."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dynamic = said["tool"]["setuptools"]["dynamic"]
    files = [*dynamic["dependencies"]["file"], *dynamic["optional-dependencies"]["train"]["file"]]
    included = [
        line.removeprefix("-r ")
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert included == files


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.split("/")[0] for name in names}
    assert roots == {"videobert_jax", f"videobert_jax-{videobert_jax.__version__}.dist-info"}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "videobert_jax"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    files = {name for name in names if name.startswith("videobert_jax/")}
    assert files == {name for name in listed if (ROOT / name).is_file()}
    assert "videobert_jax/py.typed" in files


def test_it_runs_from_the_wheel_alone(wheel, tmp_path):
    """A wheel of pure Python is importable as it is."""
    code = "import videobert_jax; from videobert_jax.inference import model; print(model.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[str(wheel)]!r}; {code}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(pathlib.Path(pytest.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(wheel) in done.stdout
