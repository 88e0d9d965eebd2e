"""Files of torch.save, in both its forms, read without torch and compared with torch's reading."""

import collections
import pathlib

import numpy as np
import pytest

from videobert_jax.files import torch_files

torch = pytest.importorskip("torch", reason="torch is not installed (make setup-parity)")

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
DTYPES = (
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 complex64 complex128 "
    "int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool"
).split()


def assert_same(theirs, ours, place=""):
    """Values of torch and of ours, recursively: names, shapes, strides, dtypes, values."""
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach()
        assert isinstance(ours, np.ndarray), place
        assert ours.shape == tuple(theirs.shape) and f"torch.{ours.dtype}" == str(theirs.dtype)
        if ours.size:
            assert tuple(s // ours.itemsize for s in ours.strides) == theirs.stride(), place
        wide = torch.complex128 if theirs.is_complex() else torch.float64
        wide = theirs.dtype if theirs.dtype in (torch.int64, torch.uint64) else wide
        expected = theirs.to(wide).numpy()
        np.testing.assert_array_equal(ours.astype(expected.dtype), expected, err_msg=place)
    elif isinstance(theirs, dict):
        assert list(theirs) == list(ours), place
        for key in theirs:
            assert_same(theirs[key], ours[key], f"{place}/{key}")
    elif isinstance(theirs, list | tuple):
        assert len(theirs) == len(ours), place
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            assert_same(one, other, f"{place}/{number}")
    elif isinstance(theirs, torch.dtype | torch.device):
        assert ours == str(theirs), place
    else:
        assert theirs == ours and type(theirs) is type(ours), place


def checkpoint():
    """What a training script of the field saves: network, optimizer, figures, odd tensors."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        collections.OrderedDict(conv=torch.nn.Conv3d(3, 4, 2), norm=torch.nn.BatchNorm3d(4))
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network(torch.randn(2, 3, 4, 4, 4)).square().sum().backward()
    optimizer.step()
    base = torch.arange(24.0).reshape(4, 6)
    noted = torch.nn.Parameter(torch.randn(3))
    noted.note = "a parameter with an attribute"
    return {
        "epoch": 3,
        "best": np.float64(0.25),
        "name": "s3d",
        "state_dict": network.state_dict(),
        "parameters": list(network.parameters()),
        "optimizer": optimizer.state_dict(),
        "views": [base, base.t(), base[1:, ::2], base[2], torch.zeros(1).expand(5, 3)],
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "noted": noted,
        "size": base.shape,
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "dtypes": {d: torch.tensor([[0, 1, 2], [3, 4, 5.0]]).to(getattr(torch, d)) for d in DTYPES},
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_reads_as_it_was_saved(zipped, tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    value = checkpoint()
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    ours = torch_files.read_torch(path)
    assert_same(value, ours)  # torch itself cannot load its 8-bit floats from the older form
    ours["views"][0][1, 2] = 99  # what shares memory there shares it here
    assert ours["views"][1][2, 1] == 99 == ours["views"][2][0, 1]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol(zipped, protocol, tmp_path):
    value = {"weight": torch.randn(3, 4), "names": ["é", ("b", 1)], "flags": {1, 2}}
    path = tmp_path / "a.pt"
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert_same(value, torch_files.read_torch(path))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_the_golden_files_are_of_torch(form):
    path = GOLDEN / f"torch_{form}.pth"
    assert_same(torch.load(path, weights_only=False), torch_files.read_torch(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_no_plain_array_is_refused_by_name(zipped, tmp_path):
    path = tmp_path / "a.pt"
    for value, said in (
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (torch.eye(3).to_sparse(), "_rebuild_sparse_tensor"),
    ):
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(torch_files.ArrayFileError, match=said):
            torch_files.read_torch(path)
