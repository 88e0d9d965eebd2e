"""The benchmark of the step on machines without TensorFlow, and how operations are told apart."""

import subprocess
import sys

import pytest

from benchmarks import operations

# The imports of the whole program and its batches; an import of either raises.
_WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None
from benchmarks import layouts, on_device, torch_two_tower, train_step
from videobert_jax import configuration
from videobert_jax.training import model_flops
on_device.start("cpu", shares_memory=False)
run = configuration.parse(configuration.load_file("configs/tiny.py"))
(batch,) = layouts.make(layouts.Settings(run, 1, 1, 1, 1, None, None), False)["packed"]
assert model_flops.count(batch).text == batch.text_ids.size
sys.stdout.write("done")
"""


def test_it_needs_no_tensorflow():
    pytest.importorskip("torch", reason='needs torch: pip install "videobert-jax[parity]"')
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TENSORFLOW], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done")


@pytest.mark.parametrize(
    "name, kind",
    [
        ("dot_general.17", "matrix products"),
        ("cublas-gemm.3", "matrix products"),
        ("nvjet_tst_128x256_64x4", "matrix products"),
        ("loop_add_fusion.2", "element by element"),
        ("input_reduce_fusion.1", "reductions"),
        ("all-reduce-start.1", "collectives"),
        ("transpose_copy_fusion", "copies"),
        ("while.3", "other"),
    ],
)
def test_operations_are_told_by_name(name, kind):
    assert operations.kind_of(name) == kind
