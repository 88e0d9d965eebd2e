"""Meshes over the devices of TPU slices, as libtpu describes them."""

import multiprocessing

import numpy as np
import pytest

from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import topologies

pytest.importorskip("libtpu", reason='the TPU compiler: pip install "videobert-jax[tpu-compiler]"')


def _slices_of(topology: str, slices: int, fsdp: int) -> np.ndarray:
    """The slice of every place of a mesh, in a process of its own, as libtpu wants."""
    devices = topologies.Target(topology, slices).devices()
    mesh = meshes.create_mesh(meshes.MeshConfig(-1, fsdp, 1), devices)
    return np.vectorize(lambda device: device.slice_index)(mesh.devices)


@pytest.mark.parametrize("topology", ["v5e:4x8", "v5p:2x2x4"])
def test_only_data_crosses_slices_and_fsdp_may_split_a_physical_axis(topology: str):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_slices_of, (topology, 2, 16))
    half = found.shape[0] // 2
    assert (found[:half] == found[0, 0, 0]).all() and (found[half:] == found[-1, 0, 0]).all()
    assert found[0, 0, 0] != found[-1, 0, 0]
