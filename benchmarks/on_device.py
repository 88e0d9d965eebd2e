"""The training step of a config on an accelerator, alone and beside compiled peers in PyTorch.

What `python -m benchmarks.train_step --device gpu` measures: pieces, clips, matching and contrast,
whatever else the config has. Every side takes training steps of as many examples. Lengths are
those of YouCook II where its annotations are given, else all rows are full. Ours packs them. A
peer's rows hold one example each: full, padded to one length, or in batches of like length, cut to
the longest of each. Peers run one after the other, each in turns with ours, and each side has half
of the device's memory.
"""

import contextlib
import dataclasses
import functools
import gc
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import alternate, layouts, lxmert, operations, our_step
from benchmarks.layouts import Layouts, Settings
from videobert_jax import configuration, schema
from videobert_jax.files import extras
from videobert_jax.models.config import REMAT_POLICIES, DecoderConfig, ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import hardware, model_flops

PEERS = ("two_tower", "lxmert")
TARGETS = {
    "matmul_fraction": 0.60,
    "mfu": 0.45,
    "ratio_over": 1.5,
    "ratio_over_bucketed": 2.0,
    "ratio_over_padded": 3.0,
}
_PLATFORMS = {"gpu": "cuda", "tpu": "tpu", "cpu": "cpu"}  # jax's names
_EQUAL = 0.02  # by which parameters and FLOPs of two sides may differ
_PROFILED_STEPS = 3


def start(device: str, shares_memory: bool) -> None:
    """Chooses the platform. Raises HardwareError where it has no devices."""
    if shares_memory:  # with PyTorch, which takes of the rest
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    print(hardware.start(_PLATFORMS[device]), flush=True)


def _flat(batch: schema.Batch) -> schema.Batch:
    """Rows of all blocks."""
    return jax.tree.map(lambda v: v.reshape(v.shape[0] * v.shape[1], *v.shape[2:]), batch)


def step_of(
    settings: Settings, batches: Sequence[schema.Batch], remat: str
) -> tuple[our_step.TrainingStep, ModelConfig]:
    """(the step of the config, its network); nothing is compiled yet."""
    run, mesh = settings.run, meshes.create_mesh(settings.run.mesh)
    network = configuration.resolve_model(
        run, vocabulary_size=run.data.vocabulary_size, feature_dim=layouts.FEATURE_DIM
    )
    platform, tensor = mesh.devices.flat[0].platform, mesh.shape["tensor"]
    network = configuration.model_on(run, network, platform, tensor)
    network = dataclasses.replace(network, remat=remat)
    model = VideoBert(network)
    step = our_step.TrainingStep(model, batches, run.optimizer, run.objectives, mesh)
    return step, network


def ours(
    settings: Settings, batches: Sequence[schema.Batch]
) -> tuple[our_step.TrainingStep, ModelConfig]:
    """(the step, its network) with the least recomputation that memory allows, compiled."""
    for remat in REMAT_POLICIES:
        step, network = step_of(settings, batches, remat)
        try:
            for number in range(len(batches)):
                step.rate([number])
            return step, network
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"model.remat={remat!r} does not fit the memory")
            del step
            gc.collect()
    raise alternate.BenchmarkError(
        f"{settings.run.name} does not fit the device in {settings.blocks} blocks; lower --blocks."
    )


def alone(settings: Settings, made: Layouts) -> dict[str, Any]:
    """Figures of ours on packed rows."""
    packed, run = made["packed"], settings.run
    step, network = ours(settings, packed)
    devices, mesh = jax.devices(), meshes.create_mesh(run.mesh)
    rates = [step.rate(settings.numbers) for _ in range(settings.rounds)]
    rate = statistics.median(rates)
    steps_a_second = rate / step.num_examples
    needed = [
        float(
            model_flops.step_flops(
                network, run.objectives, run.optimizer.frozen, model_flops.count(batch)
            )
        )
        for batch in packed
    ]
    peak = hardware.peak_flops(devices[0].device_kind)
    matmul_rate = hardware.measured_matmul_rate(mesh, network.compute_dtype)
    tokens = np.mean(
        [(b.text_segment_ids > 0).sum() + (b.video_segment_ids > 0).sum() for b in packed]
    )
    slots = packed[0].text_ids.size + packed[0].video_positions.size
    found = {
        "device_kind": devices[0].device_kind,
        "parameters": step.num_parameters,
        "remat": network.remat,
        "compute_dtype": network.compute_dtype,
        "examples_a_step": step.num_examples,
        "tokens_a_step": float(tokens),
        "slots_filled": float(tokens / slots),
        "examples_per_second": rate,
        "runs": rates,
        "seconds_a_step": 1 / steps_a_second,
        "matmul_flops_a_step": step.flops,
        "matmul_flops_measured": matmul_rate,
        "matmul_fraction": step.flops * steps_a_second / matmul_rate,
        "model_flops_a_step": statistics.mean(needed),
        "mfu": None
        if peak is None
        else statistics.mean(needed) * steps_a_second / (peak * mesh.size),
        "memory": operations.memory(step.compiled(0), devices[0]),
    }
    if settings.profile is not None:
        folder = settings.profile / run.name
        with jax.profiler.trace(str(folder)):
            step.rate([0] * _PROFILED_STEPS)
        found["time_by_operation"] = operations.shares(folder)
    return found


def beside_two_tower(settings: Settings, made: Layouts, torch_device: str) -> dict[str, Any]:
    """Ours with its objectives against the same network in PyTorch."""
    extras.require("torch", "parity")
    from benchmarks import torch_two_tower

    compiled = _can_compile(torch_two_tower.compiler())
    step, network = ours(settings, [*made["full"], *made["packed"]])
    peer = torch_two_tower.Peer(
        network, settings.run.optimizer, settings.run.data.block_size, torch_device, compiled
    )
    batches = {name: [peer.batch_of(_flat(b)) for b in made[name]] for name in _of_peer(made)}
    figures = _equal_work(step, peer.num_parameters, peer.flops(batches["full"][0]))
    rates = _in_turns(
        settings,
        step,
        {name: functools.partial(peer.rate, b * settings.repeats) for name, b in batches.items()},
    )
    return {**figures, "compiled": compiled, "remat": network.remat, **rates}


def with_four_objectives(run: configuration.RunConfig) -> configuration.RunConfig:
    """Pieces, clips, matching with uniform negatives, contrast; of the heads those alone."""
    return dataclasses.replace(
        run,
        objectives=our_step.objective_weights(
            masked_language=1.0, masked_video=1.0, matching=1.0, contrastive=1.0
        ),
        model=dataclasses.replace(
            run.model,
            masked_video_head="nce",
            bag_of_words_head=False,
            bag_of_words_reads="tower",
            bag_of_words_dropout_rate=0.0,
            token_head=False,
            answers=0,
            clip_labels=0,
            decoder=DecoderConfig(num_layers=0),
        ),
    )


def beside_lxmert(settings: Settings, made: Layouts, torch_device: str) -> dict[str, Any]:
    """Ours with LXMERT's losses against LXMERT; both predict pieces, and neither judges pairs."""
    extras.require("torch", "parity")
    from benchmarks import torch_two_tower

    compiled = _can_compile(torch_two_tower.compiler())
    run, data = settings.run, settings.run.data
    network = configuration.resolve_model(
        run, vocabulary_size=data.vocabulary_size, feature_dim=layouts.FEATURE_DIM
    )
    longest = [
        max(getattr(b[0], f"{side}_segment_ids").shape[-1] for b in made.values())
        for side in ("text", "video")
    ]
    sizes = lxmert.Sizes(
        embed_dim=network.embed_dim,
        num_heads=network.num_heads,
        feed_forward_dim=network.feed_forward_dim,
        text_layers=network.text.num_layers,
        video_layers=network.video.num_layers,
        cross_layers=network.cross.num_layers,
        vocabulary=network.text.vocabulary_size,
        feature_dim=layouts.FEATURE_DIM,
        rows=settings.blocks * data.block_size,
        text_length=longest[0],
        video_length=longest[1],
    )
    dtype = network.compute_dtype
    on = our_step.Form(jax.devices()[:1], dtype, unroll_layers=False)
    step = our_step.ours_like_lxmert(sizes, [*made["full"], *made["packed"]], on)
    peer = lxmert.Peer(sizes, os.cpu_count() or 1, lxmert.Form(torch_device, dtype, compiled))
    batches = {name: [peer.batch_of(_flat(b)) for b in made[name]] for name in _of_peer(made)}
    figures = _equal_work(step, peer.num_parameters, peer.flops(batches["full"][0]))
    rates = _in_turns(
        settings,
        step,
        {
            name: functools.partial(peer.rate, [[b] for b in of_layout] * settings.repeats)
            for name, of_layout in batches.items()
        },
    )
    return {**figures, "compiled": compiled, **rates}


BESIDE: dict[str, Callable[[Settings, Layouts, str], dict[str, Any]]] = {
    "two_tower": beside_two_tower,
    "lxmert": beside_lxmert,
}


def _of_peer(made: Layouts) -> list[str]:
    """Layouts of rows of one example."""
    return [name for name in made if name != "packed"]


def _can_compile(compiler: str | None) -> bool:
    if compiler is None:
        print("no C or C++ compiler is found, so torch.compile cannot be used: the peer is eager")
    return compiler is not None


def _equal_work(step: Any, parameters: int, flops: float) -> dict[str, Any]:
    """Raises BenchmarkError where the sides are not of equal size."""
    figures = {
        "parameters": {"ours": step.num_parameters, "peer": parameters},
        "flops_of_a_full_step": {"ours": step.flops, "peer": flops},
    }
    for name, values in figures.items():
        print(f"{name}: ours {values['ours']:,.0f}, the peer {values['peer']:,.0f}")
        if abs(values["ours"] / values["peer"] - 1) > _EQUAL:
            raise alternate.BenchmarkError(f"the networks are not equal: {name} {values}")
    return figures


def _in_turns(
    settings: Settings, step: Any, peers: Mapping[str, alternate.Measure]
) -> dict[str, Any]:
    """Medians and ratios: full rows against full ones, packed against what is not. Of the step's
    batches the first ones are of full rows, the others packed."""
    packed = [settings.batches + number for number in settings.numbers]
    others = {"ours packed": functools.partial(step.rate, packed)}
    others |= {f"peer {name}": rate for name, rate in peers.items()}
    full = functools.partial(step.rate, settings.numbers)
    rates = alternate.run(full, others, rounds=settings.rounds)
    runs = {"ours full": rates.ours, **rates.peers}
    medians = {name: statistics.median(of_one) for name, of_one in runs.items()}
    ratios = {"ratio_over": medians["ours full"] / medians["peer full"]}
    for name in ("bucketed", "padded"):
        if f"peer {name}" in medians:
            ratios[f"ratio_over_{name}"] = medians["ours packed"] / medians[f"peer {name}"]
    return {**ratios, "examples_per_second": medians, "runs": runs}


def measure(settings: Settings, device: str, peers: Sequence[str]) -> dict[str, Any]:
    """Figures of one config: ours, and of each peer under its name. What a peer failed by is said
    in the place of its figures."""
    if peers and len(jax.devices()) > 1:
        raise alternate.BenchmarkError(
            f"{len(jax.devices())} devices, but peers take one; show one alone, as by "
            "CUDA_VISIBLE_DEVICES=0, or measure ours with --alone."
        )
    settings = dataclasses.replace(settings, run=with_four_objectives(settings.run))
    made = layouts.make(settings, bool(peers))
    found = alone(settings, made)
    for name in peers:
        with _memory_of_peer(device):
            try:
                beside = BESIDE[name](settings, made, {"gpu": "cuda"}.get(device, device))
            except (alternate.BenchmarkError, RuntimeError) as error:  # PyTorch's out of memory
                print(f"{name} failed: {error}", flush=True)
                beside = {"failed": str(error)}
        found[name] = beside
        found |= {
            key.replace("over", f"over_{name}"): value
            for key, value in beside.items()
            if key.startswith("ratio_over")
        }
    return found


@contextlib.contextmanager
def _memory_of_peer(device: str) -> Any:
    """What earlier sides held is given back first."""
    gc.collect()
    if device == "gpu":
        torch: Any = extras.require("torch", "parity")
        if not torch.cuda.is_available():
            raise alternate.BenchmarkError(
                "this PyTorch finds no GPU; install one with CUDA, or measure ours with --alone."
            )
        torch.cuda.empty_cache()
    yield
    gc.collect()


def report(name: str, found: Mapping[str, Any]) -> None:
    """Prints the figures that have targets."""
    for figure, value in found.items():
        target = TARGETS.get(figure.replace("_two_tower", "").replace("_lxmert", ""))
        if target is not None:
            known = "unknown: no data sheet of this device" if value is None else f"{value:.3f}"
            print(f"{name}: {figure} {known}, target {target}")
