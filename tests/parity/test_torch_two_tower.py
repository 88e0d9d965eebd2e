"""The two-tower that PyTorch trains in the benchmark of the step is ours, written there."""

import dataclasses
import importlib

import jax
import numpy as np
import pytest

from benchmarks import on_device, our_step, real_lengths
from benchmarks.rows import Rows
from videobert_jax import configuration
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import optimizer, state

torch = pytest.importorskip("torch", reason='needs torch: pip install "videobert-jax[parity]"')
torch_two_tower = importlib.import_module("benchmarks.torch_two_tower")

FEATURES, VOCABULARY, BLOCK = 48, 384, 8
FULL = Rows(1, 16, 24)
MESH = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tiny_run) -> configuration.RunConfig:
    run = on_device.with_four_objectives(tiny_run)
    data = dataclasses.replace(run.data, block_size=BLOCK, blocks_per_batch=2)
    model = dataclasses.replace(
        run.model, embed_dim=64, num_heads=4, feed_forward_dim=256, norm="pre", joint_dim=32
    )
    return dataclasses.replace(run, data=data, model=model)


def network_of(run, **changes):
    network = configuration.resolve_model(run, vocabulary_size=VOCABULARY, feature_dim=FEATURES)
    return dataclasses.replace(network, **changes)


def batch_of(lengths, rows):
    blocks = [
        real_lengths.block_of(text, video, rows, VOCABULARY, FEATURES)
        for text, video in zip(lengths.text, lengths.video, strict=True)
    ]
    return jax.tree.map(lambda *parts: np.stack(parts), *blocks)


@pytest.fixture(scope="module")
def full():
    return batch_of(real_lengths.equal(FULL, BLOCK, 2), FULL)


def flat(batch):
    return jax.tree.map(lambda v: v.reshape(v.shape[0] * v.shape[1], *v.shape[2:]), batch)


@pytest.mark.parametrize("norm, shared", [("pre", False), ("post", True)])
def test_both_have_the_same_parameters(run, norm, shared):
    network = network_of(run, norm=norm)
    cross = dataclasses.replace(network.cross, share_directions=shared)
    network = dataclasses.replace(network, cross=cross)
    rule = optimizer.create_rule(run.optimizer, 100, VideoBert(network))
    created = state.state_structs(VideoBert(network), rule, MESH).params
    peer = torch_two_tower.Peer(network, run.optimizer, BLOCK, "cpu", compiled=False)
    assert peer.num_parameters == sum(leaf.size for leaf in jax.tree.leaves(created))


def test_both_have_the_same_matrix_products(run, full):
    network = network_of(run)
    ours = our_step.TrainingStep(VideoBert(network), [full], run.optimizer, run.objectives, MESH)
    peer = torch_two_tower.Peer(network, run.optimizer, BLOCK, "cpu", compiled=False)
    # Ours gathers by products with one-hot rows, which are small.
    assert ours.flops == pytest.approx(peer.flops(peer.batch_of(flat(full))), rel=0.02)


def test_the_peer_learns_its_batch(run, full):
    network = network_of(run, compute_dtype="float32")
    optimization = dataclasses.replace(run.optimizer, learning_rate=3e-3)
    peer = torch_two_tower.Peer(network, optimization, BLOCK, "cpu", compiled=False)
    batch = peer.batch_of(flat(full))
    losses = [float(peer.step(batch)) for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_padding_changes_nothing_that_the_peer_tells(run):
    """Longer rows of the same examples have the same loss."""
    network = network_of(run, compute_dtype="float32", dropout_rate=0.0)
    peer = torch_two_tower.Peer(network, run.optimizer, BLOCK, "cpu", compiled=False)
    draw = np.random.default_rng(0)
    text, video = draw.integers(6, 14, BLOCK), draw.integers(6, 20, BLOCK)
    losses = []
    for rows in (Rows(1, 16, 24), Rows(1, 32, 32)):
        block = real_lengths.block_of(text, video, rows, VOCABULARY, FEATURES)
        losses.append(peer.loss(peer.batch_of(block)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] < 30  # what is told is among what is not padding
