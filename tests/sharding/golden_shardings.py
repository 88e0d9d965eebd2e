"""Where every leaf of a config's training state lies on 256 devices that need not be there.

python -m tests.sharding.golden_shardings    # writes tests/golden/shardings/*.txt anew
"""

import argparse
import pathlib
from collections.abc import Iterator
from typing import Any

from jax.sharding import PartitionSpec

from videobert_jax import configuration
from videobert_jax.training import abstract_step, manifest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "shardings"
NUM_DEVICES = 256
FEATURE_DIM = 1024  # I3D's


def config_names() -> list[str]:
    """Names of the configs that are meant to be run."""
    files = sorted((ROOT / "configs").glob("*.py"))
    return [file.stem for file in files if file.stem not in ("__init__", "base", "tiny")]


def describe(name: str) -> str:
    """The mesh of a config, and a line a leaf: name, shape, mesh axes along its dimensions.

    Of the optimizer's leaves only those that lie elsewhere than the parameter that they are of.
    """
    run = configuration.parse(configuration.load_file(str(ROOT / "configs" / f"{name}.py")))
    mesh = abstract_step.abstract_mesh(run.mesh, NUM_DEVICES)
    structs = abstract_step.build(run, mesh, FEATURE_DIM, "tpu").state
    sizes = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    lines = [f"{name}: mesh {sizes}; {abstract_step.shard_bytes(structs) / 2**20:.1f} MiB a device"]
    params = manifest.named_leaves({"params": structs.params})
    lines += [_line(*leaf) for leaf in params.items()]
    lines += [
        _line(*leaf) for leaf in manifest.named_leaves({"constants": structs.constants}).items()
    ]
    moved = manifest.named_leaves({"opt_state": structs.opt_state, "ema": structs.ema})
    lines += [_line(*leaf) for leaf in moved.items() if not _lies_as_its_parameter(*leaf, params)]
    return "\n".join(lines) + "\n"


def _lies_as_its_parameter(name: str, leaf: Any, params: dict[str, Any]) -> bool:
    of = [each for path, each in params.items() if name.endswith(path.removeprefix("params"))]
    return any(each.sharding.spec == leaf.sharding.spec for each in of)


def _line(name: str, leaf: Any) -> str:
    shape = ",".join(map(str, leaf.shape))
    return f"{name} [{shape}] {' '.join(_axes(leaf.sharding.spec, leaf.ndim))}".rstrip()


def _axes(spec: PartitionSpec, ndim: int) -> Iterator[str]:
    for entry in (*spec, *(None,) * (ndim - len(spec))):
        yield "+".join(entry) if isinstance(entry, tuple) else entry or "-"


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for file in GOLDEN.glob("*.txt"):
        file.unlink()
    for name in config_names():
        (GOLDEN / f"{name}.txt").write_text(describe(name))


if __name__ == "__main__":
    main()
