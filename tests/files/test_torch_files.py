"""The golden files were written by torch 2.13; `tests/parity/test_torch_files.py` compares them."""

import io
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tests.files.damage import GOLDEN
from videobert_jax.files import arrays, torch_files


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_both_forms_of_a_checkpoint(form):
    found = torch_files.read_torch(GOLDEN / f"torch_{form}.pth")
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {
        "base": base,
        "transposed": base.T,
        "step": base[1:, ::2],
        "expanded": np.full(5, 7),
        "scalar": np.float64(2.5),
        "empty": np.zeros((0, 3), np.float32),
        "parameter": base[0],
        "bfloat16": np.array([1, -2.5], ml_dtypes.bfloat16),
        "half": np.array([0.5], np.float16),
        "bool": np.array([True, False]),
    }
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert found["epoch"] == 3 and found["size"] == (3, 4)
    state = found["state_dict"]
    assert list(state) == ["weight", "bias"] and state["weight"] == 0.5 and state["bias"] == -1
    found["base"][1, 0] = 99  # one storage, as in torch
    assert found["transposed"][0, 1] == 99 == found["step"][0, 0]


def _changed(change) -> bytes:
    """The golden zip with its members changed by `change(name, content)`."""
    file = io.BytesIO()
    with zipfile.ZipFile(GOLDEN / "torch_zip.pth") as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return file.getvalue()


def test_big_endian_storages(tmp_path):
    def change(name, content):
        if name.endswith("/byteorder"):
            return b"big"
        return (
            np.frombuffer(content, "<f4").byteswap().tobytes() if name.endswith("/2") else content
        )

    (tmp_path / "big.pth").write_bytes(_changed(change))
    found = torch_files.read_torch(tmp_path / "big.pth")["base"]
    np.testing.assert_array_equal(found.reshape(-1), np.arange(12))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n, c: None if n.endswith("data/2") else c, "no member"),
        (lambda n, c: c + c if n.endswith("data/2") else c, "values of float32 are said"),
        (lambda n, c: None if n.endswith(".pkl") else c, "0 members data.pkl"),
        (lambda n, c: b"middle" if n.endswith("byteorder") else c, "byte order 'middle'"),
        (lambda n, c: c.replace(b"K\x03K\x04\x86", b"K\x7fK\x04\x86"), "in a storage of 12 values"),
    ],
)
def test_a_lie_in_the_archive_is_refused(change, said, tmp_path):
    content = _changed(change)
    assert content != _changed(lambda n, c: c)
    (tmp_path / "lie.pth").write_bytes(content)
    with pytest.raises(arrays.ArrayFileError, match=rf"lie\.pth: .*{said}"):
        torch_files.read_torch(tmp_path / "lie.pth")


def test_a_storage_that_the_older_form_only_claims_takes_no_memory(tmp_path):
    content = (GOLDEN / "torch_legacy.pth").read_bytes()
    lie = content.replace(b"K\x0cNt", b"J\xff\xff\xff\x7fNt")
    assert lie != content
    (tmp_path / "lie.pth").write_bytes(lie)
    with pytest.raises(arrays.ArrayFileError, match="storages of more bytes than the file has"):
        torch_files.read_torch(tmp_path / "lie.pth")


def test_a_plain_pickle_is_told_from_a_file_of_torch(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(arrays.ArrayFileError, match=r"read it as a \.pkl file"):
        torch_files.read_torch(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"<html>not found</html>")
    with pytest.raises(arrays.ArrayFileError, match="begins with b'<htm'"):
        torch_files.read_torch(tmp_path / "b.pth")
    with pytest.raises(FileNotFoundError):
        torch_files.read_torch(tmp_path / "none.pth")
