"""Makes tests/golden/VERSION: what this version writes, to be read by every later one's tests.

    python -m tests.golden.make [--output FOLDER]

files.tar.xz holds dataset/, a prepared dataset of drawn features, run/, the workdir of a run on it
that was asked to stop, and export/, that run's export; expected.json what each gave when it was
made: digests, and outputs of the network. It is made once, when a version is released, and never
changed: a folder that is there is refused. Made again by the same packages on the same machine it
has the same expected.json.
"""

import argparse
import contextlib
import io
import os
import pathlib
import sys
import tarfile
import tempfile
from typing import Any

if __name__ == "__main__":  # said before jax starts: one device, so that sums have one order
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}

import numpy as np

import videobert_jax
from tests import fakes
from tests.drills import campaign
from tests.integration import runs
from videobert_jax.data import index
from videobert_jax.files import atomic
from videobert_jax.training import steps

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LARGEST = 1_000_000  # bytes of the files of a version, packed
STOP_AT = 2
TEXTS = ["cut the onion now", "stir with salt"]
SETTINGS: dict[str, Any] = {
    "data__vocabulary_size": 300,
    "model__embed_dim": 16,
    "model__num_heads": 2,
    "model__feed_forward_dim": 32,
    "model__joint_dim": 8,
    "training__num_steps": 4,
    "training__save_every": 1,
    "training__keep_checkpoints": 1,
}
# What says more of the machine than of the version.
_NOT_KEPT = ("tensorboard", "leases", "goodput.json", "metrics.jsonl", "commit_success.txt")


def main() -> int:
    """0 when the folder is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "tests" / "golden" / videobert_jax.__version__
    parser.add_argument("--output", type=pathlib.Path, default=default)
    output = parser.parse_args().output
    try:
        size = make(output.absolute())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{output}: {size / 1000:.0f} kB")
    return 0


def make(output: pathlib.Path) -> int:
    """Bytes of the folder that was written. Raises ValueError where it is there already, or grew
    too large."""
    if output.exists():
        raise ValueError(
            f"{output} is there already: what a version wrote is never made anew. Raise "
            "videobert_jax.__version__, or name another --output."
        )
    steps.objective_gradient_norms = lambda *_, **__: {"all": 1.0}  # they take longer than the rest
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = pathlib.Path("golden")  # so that no path in the files is of this machine
        splits = {"train": 6, "validation": 2}
        campaign.write_dataset(folder / "dataset", splits, name="golden", clips=8)
        runs.train(
            folder / "run", folder / "dataset", stop=lambda step: step == STOP_AT, **SETTINGS
        )
        videobert_jax.load(folder / "run").save_pretrained(folder / "export")
        packed = pack(folder)
        if len(packed) > LARGEST:
            raise ValueError(f"{output} would have {len(packed)} bytes, not {LARGEST}; make less.")
        expected = found(folder)
    output.mkdir(parents=True)
    atomic.write_bytes(output / "files.tar.xz", packed)
    atomic.write_json(output / "expected.json", expected)
    return len(packed)


def pack(folder: pathlib.Path) -> bytes:
    """The files of a folder as a tar.xz without times and owners."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz", preset=9) as archive:
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.is_file() and not set(_NOT_KEPT) & set(parts):
                info = tarfile.TarInfo("/".join(parts))
                info.size = path.stat().st_size
                archive.addfile(info, io.BytesIO(path.read_bytes()))
    return content.getvalue()


def unpack(version: pathlib.Path, output: pathlib.Path) -> None:
    """The files of a version, in an empty folder of their own."""
    with tarfile.open(version / "files.tar.xz") as archive:
        archive.extractall(output, filter="data")


def found(folder: pathlib.Path) -> dict[str, Any]:
    """What the files of a version give; JSON."""
    return {
        "version": videobert_jax.__version__,
        "dataset": of_dataset(folder / "dataset"),
        "run": outputs(folder / "run"),
        "export": outputs(folder / "export"),
    }


def of_dataset(path: pathlib.Path) -> dict[str, Any]:
    """Digest, videos a split, and captions."""
    dataset = index.open_dataset(path)
    train = dataset.split("train")
    return {
        "digest": dataset.digest,
        "videos": {name: len(dataset.split(name).videos) for name in ("train", "validation")},
        "texts": train.texts(range(len(train))),
    }


def outputs(name: pathlib.Path) -> dict[str, Any]:
    """Step, digest of the parameters, and vectors of texts and of drawn features."""
    model = videobert_jax.load(name)
    features = np.random.default_rng(1).normal(size=(5, fakes.FEATURE_DIM)).astype(np.float32)
    return {
        "step": model.bundle.step,
        "digest": model.bundle.digest,
        "weights": model.bundle.weights,
        "text": np.round(model.encode_text(TEXTS), 6).tolist(),
        "video": np.round(model.encode_video(features), 6).tolist(),
        "match": np.round(model.match(features, TEXTS[0]), 6).tolist(),
    }


if __name__ == "__main__":
    sys.exit(main())
