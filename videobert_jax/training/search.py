"""Which mesh, micro-batch and rematerialisation suit a config: estimated for all, put in order.

Only what leaves the result of training as it is is changed: how devices are arranged, how a batch
is cut into micro-batches, and what is computed again. Where no such change makes a step fit, blocks
become smaller, which changes local negatives, and is said.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from videobert_jax import configuration
from videobert_jax.models.config import REMAT_POLICIES
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding.mesh import MeshConfig
from videobert_jax.training import estimate, roofline
from videobert_jax.training.estimate import Estimate
from videobert_jax.training.roofline import Roofline
from videobert_jax.training.topologies import Target

_MOST_TENSOR = 8  # beyond it activations are sent longer than products take
_SMALLEST_BLOCK = 16  # examples; of fewer there are no negatives to speak of


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A run with other settings (dotted name -> value), and what it is estimated to need."""

    settings: dict[str, Any]
    run: configuration.RunConfig
    estimate: Estimate
    roofline: Roofline | None

    @property
    def examples_a_second(self) -> float:
        """At the bound where the chip is known; else in proportion to FLOPs an example."""
        examples = self.run.data.global_batch_size
        if self.roofline is None:
            return examples / self.estimate.flops
        return examples / self.roofline.seconds

    @property
    def flags(self) -> str:
        return " ".join(f"--config.{name}={value}" for name, value in self.settings.items())

    def order(self) -> tuple[float, float, int]:
        """Fastest first; of equal ones that which sends and moves less, then fewest changes."""
        busy = 0.0
        if self.roofline is not None:
            parts = (self.roofline.arithmetic, self.roofline.memory, self.roofline.network)
            busy = sum(parts) / self.run.data.global_batch_size
        return (-round(math.log(self.examples_a_second), 2), busy, len(self.settings))


def candidate(
    run: configuration.RunConfig, settings: dict[str, Any], feature_dim: int, target: Target
) -> Candidate:
    """The run with these settings, estimated. Raises ValueError where they do not go together."""
    changed = with_settings(run, settings)
    sizes = changed.mesh.resolve(target.num_devices)
    mesh: dict[str, int] = dict(zip(meshes.AXES, sizes, strict=True))
    parts = meshes.data_parts_of(mesh["data"], target.bounds, target.slices)
    found = estimate.estimate(changed, mesh, feature_dim, target.platform, target.slices, parts)
    bound = None
    if target.device_bytes is None:
        bound = roofline.of_step(target.topology, found.flops, found.bytes_accessed, found.sent)
    return Candidate(settings, changed, found, bound)


def with_settings(
    run: configuration.RunConfig, settings: dict[str, Any]
) -> configuration.RunConfig:
    """`run` with settings changed by their dotted names. Raises ConfigError where they contradict
    others."""
    for name, value in settings.items():
        group, leaf = name.split(".")
        changed = dataclasses.replace(getattr(run, group), **{leaf: value})
        run = dataclasses.replace(run, **{group: changed})
    configuration.check_together(run)
    return run


def candidates(run: configuration.RunConfig, feature_dim: int, target: Target) -> list[Candidate]:
    """All arrangements of a run on a target, fitting or not, the estimated best first.

    A batch that the shards do not divide is rounded up. Raises what the last one raises where
    settings contradict each other in all.
    """
    found, refused = [], None
    for mesh in _meshes(run, target):
        shards = mesh.data * mesh.fsdp
        blocks = -(-run.data.blocks_per_batch // shards) * shards
        for accumulation in _divisors(blocks // shards):
            for remat in REMAT_POLICIES:
                settings = _differing(run, mesh, blocks, accumulation, remat, target)
                try:
                    found.append(candidate(run, settings, feature_dim, target))
                except ValueError as error:  # such as a dimension that the mesh does not divide
                    refused = error
    if refused is not None and not found:
        raise refused
    return sorted(found, key=Candidate.order)


def _differing(
    run: configuration.RunConfig,
    mesh: MeshConfig,
    blocks: int,
    accumulation: int,
    remat: str,
    target: Target,
) -> dict[str, Any]:
    """The settings of an arrangement that are not the run's already."""
    settings: dict[str, Any] = {}
    try:
        own = run.mesh.resolve(target.num_devices)
    except ValueError:
        own = ()
    if own != (mesh.data, mesh.fsdp, mesh.tensor):
        sizes = {"mesh.data": -1, "mesh.fsdp": mesh.fsdp, "mesh.tensor": mesh.tensor}
        settings |= {
            name: size for name, size in sizes.items() if getattr(run.mesh, name[5:]) != size
        }
    for name, value, now in (
        ("data.blocks_per_batch", blocks, run.data.blocks_per_batch),
        ("training.accumulation_steps", accumulation, run.training.accumulation_steps),
        ("model.remat", remat, run.model.remat),
    ):
        if value != now:
            settings[name] = value
    return settings


def _meshes(run: configuration.RunConfig, target: Target) -> Iterator[MeshConfig]:
    """Meshes over the devices, of which data crosses the slices and tensor splits heads."""
    in_slice = target.num_devices // target.slices
    for tensor in _divisors(math.gcd(run.model.num_heads, in_slice)):
        if tensor > _MOST_TENSOR or run.model.feed_forward_dim % tensor:
            continue
        for fsdp in _divisors(in_slice // tensor):
            if run.model.embed_dim % fsdp == 0:
                yield MeshConfig(target.num_devices // (tensor * fsdp), fsdp, tensor)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def best(found: list[Candidate], target: Target, wanted: int = 3) -> list[Candidate]:
    """The first of those that are estimated to fit; where none is, those that need least."""
    fits = [each for each in found if each.estimate.needed_bytes <= target.available_bytes]
    return (fits or sorted(found, key=lambda each: each.estimate.needed_bytes))[:wanted]


def fitting(
    run: configuration.RunConfig,
    feature_dim: int,
    target: Target,
    needed_bytes: int | None,
    wanted: int = 3,
) -> list[tuple[Candidate, int]]:
    """(change that makes a step fit which does not, bytes that it then needs), cheapest first.

    Estimates are scaled by what the compiler said that the step needs, where it did. First come
    arrangements of the same batch; where they are too few, smaller blocks.
    """
    scale = 1.0
    if needed_bytes:
        own = candidate(run, {}, feature_dim, target).estimate
        scale = needed_bytes / own.needed_bytes

    def needs(found: Candidate) -> int:
        return int(found.estimate.needed_bytes * scale)

    def fits(found: Candidate) -> bool:
        return needs(found) <= target.available_bytes

    same_batch = [each for each in candidates(run, feature_dim, target) if fits(each)]
    cheapest = sorted(same_batch, key=lambda each: (each.order()[0], len(each.settings)))
    chosen = _various(cheapest)[:wanted]
    for each in _smaller_blocks(run, feature_dim, target, fits):
        if len(chosen) == wanted:
            break
        chosen.append(each)
    return [(each, needs(each)) for each in chosen]


def _various(cheapest: list[Candidate]) -> list[Candidate]:
    """The cheapest of each kind of change first, then the others, each in their order."""
    first: dict[frozenset[str], Candidate] = {}
    for each in cheapest:
        kind = frozenset(name.split(".")[0] if "mesh" in name else name for name in each.settings)
        first.setdefault(kind, each)
    kept = list(first.values())
    return kept + [each for each in cheapest if each not in kept]


def _smaller_blocks(
    run: configuration.RunConfig, feature_dim: int, target: Target, fits: Any
) -> Iterator[Candidate]:
    """Arrangements with blocks of half the examples, and half of these, until one fits."""
    size = run.data.block_size // 2
    while size >= _SMALLEST_BLOCK and size % run.data.examples_per_row == 0:
        try:
            smaller = with_settings(run, {"data.block_size": size})
        except configuration.ConfigError:  # chunks that do not divide it
            return
        for each in candidates(smaller, feature_dim, target):
            if fits(each):
                yield dataclasses.replace(each, settings={"data.block_size": size, **each.settings})
        size //= 2
