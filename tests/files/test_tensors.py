"""Headers of safetensors files that lie; tests/export damages whole exports."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from videobert_jax.files import tensors
from videobert_jax.files.errors import ArrayFileError


def test_half_precision_comes_out_as_it_went_in(tmp_path):
    given = {"a": np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3), "b": np.ones(3, np.float16)}
    safetensors.numpy.save_file(given, tmp_path / "file")
    found = tensors.read(tmp_path / "file")
    assert {name: array.dtype for name, array in found.items()} == {
        name: array.dtype for name, array in given.items()
    }
    np.testing.assert_array_equal(found["a"], given["a"])


@pytest.mark.parametrize(
    "header",
    [
        json.dumps({"a": {"dtype": "F32", "shape": None, "data_offsets": [0, 4]}}),
        json.dumps({"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}),
        json.dumps({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}),
        json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}),
        json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, "4"]}}),
        json.dumps({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}),
        json.dumps({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4], "b": 1}}),
        "[" * 100_000,
    ],
)
def test_a_strange_header_is_refused(tmp_path, header):
    content = header.encode()
    (tmp_path / "file").write_bytes(struct.pack("<Q", len(content)) + content + bytes(4))
    with pytest.raises(ArrayFileError, match="file: .*not a whole safetensors file"):
        tensors.read(tmp_path / "file")
