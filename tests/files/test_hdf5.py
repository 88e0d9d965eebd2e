import os
import zlib

import h5py
import numpy as np
import pytest

from videobert_jax.files import arrays, hdf5


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("hdf5") / "features.h5"
    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["plain"] = draw.normal(size=(30, 8)).astype(np.float32)
        file["scalar"] = 3.5
        file["big_endian"] = np.arange(5, dtype=">i2")
        file["booleans"] = np.array([True, False])
        file["fixed"] = np.array([b"ab", b"c"])
        file["empty"] = np.zeros((0, 4), np.float16)
        file["fields"] = np.ones(3, [("a", "<f4"), ("b", "<i2", (2,))])
        file["group/inner/wide"] = draw.integers(255, size=(3, 1, 9 << 20)).astype(np.uint8)
        file["group/text"] = [["é", "b"], ["", "d" * 5000]]
        for name in ("gzip", "lzf"):
            values = draw.integers(9, size=(5000, 256))
            file.create_dataset(f"group/{name}", data=values, compression=name, chunks=(48, 256))
        file.create_dataset("unwritten", shape=(10, 3), dtype="f4", fillvalue=2.0)
        file["group/again"] = file["group"]  # a circle of hard links
    return path


def _expected(path) -> dict[str, np.ndarray]:
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item.asstr()[()] if item.dtype.kind == "O" else item[()])

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_all_datasets_come_back_as_h5py_reads_them(features):
    found, expected = hdf5.read_hdf5(features), _expected(features)
    assert sorted(expected) == list(found) and len(found) == 12
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_one_dataset_at_a_time_or_rows_of_it(features):
    expected = _expected(features)
    with hdf5.Hdf5File(features) as file:
        assert file.names == sorted(expected) and file.links == {}
        for name in ("plain", "group/gzip", "group/inner/wide", "group/text"):
            assert file.header(name) == (expected[name].shape, expected[name].dtype)
            for rows in ((0, 2), (1, 1), (1, 2)):
                part = expected[name][slice(*rows)]
                np.testing.assert_array_equal(file.read(name, rows), part, err_msg=name)
        with pytest.raises(arrays.ArrayFileError, match=r"rows \(2, 31\) asked of shape \(30, 8\)"):
            file.read("plain", (2, 31))
        with pytest.raises(arrays.ArrayFileError, match=r"\[none\]: no such dataset; there are 12"):
            file.read("none")
    with pytest.raises(arrays.ArrayFileError, match="the file is closed"):
        file.read("plain")


def test_the_process_is_kept_for_the_next_file_and_not_shared_with_a_fork(features):
    hdf5.read_hdf5(features)
    process = hdf5._idle[-1]._process.pid
    with hdf5.Hdf5File(features) as file:
        assert file._process._process.pid == process
        with hdf5.Hdf5File(features) as other:
            assert other._process._process.pid != process
            np.testing.assert_array_equal(file.read("plain"), other.read("plain"))
    kept = hdf5._idle[-1]
    kept.owner = os.getppid()  # as a fork sees it
    assert not kept.alive
    with hdf5.Hdf5File(features) as file:
        assert file._process is not kept
    kept.owner = os.getpid()
    kept.end()


def _linked(path, kind: str) -> None:
    """A file with one dataset, and something that leads out of it."""
    outside = path.with_name("outside.h5")
    with h5py.File(outside, "w") as file:
        file["secret"] = np.arange(4.0)
    path.with_name("raw").write_bytes(np.arange(4.0).tobytes())
    with h5py.File(path, "w") as file:
        file["own"] = np.arange(3)
        if kind == "external":
            file["link"] = h5py.ExternalLink("outside.h5", "secret")
        elif kind == "soft":
            file["link"] = h5py.SoftLink("/own")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource("outside.h5", "secret", (4,))
            file.create_virtual_dataset("link", layout)
        elif kind == "raw":
            parts = [("raw", 0, 32)]
            file.create_dataset("link", (4,), "f8", external=parts, efile_prefix=str(path.parent))
        elif kind == "reference":
            file.create_dataset("link", (1,), h5py.ref_dtype)[0] = file["own"].ref
        elif kind == "ragged":
            file.create_dataset("link", (2,), h5py.vlen_dtype(np.int32))[0] = [1, 2]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("external", "an external link, which is not followed"),
        ("soft", "a soft link, which is not followed"),
        ("virtual", "a virtual dataset"),
        ("raw", "keeps its values in other files"),
        ("reference", "references, or rows of many lengths"),
        ("ragged", "references, or rows of many lengths"),
    ],
)
def test_what_leads_out_of_the_file_is_refused_and_the_rest_is_read(kind, said, tmp_path):
    path = tmp_path / "a.h5"
    _linked(path, kind)
    with pytest.raises(arrays.ArrayFileError, match=rf"a\.h5\[link\]: .*{said}"):
        hdf5.read_hdf5(path)
    with hdf5.Hdf5File(path) as file:
        with pytest.raises(arrays.ArrayFileError, match=said):
            file.read("link")
        np.testing.assert_array_equal(file.read("own"), np.arange(3))


def test_a_dataset_larger_than_its_file_is_bounded(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("claimed", shape=(1 << 40,), dtype="f4", chunks=(1 << 12,))
        file.create_dataset("zeros", data=np.zeros(1 << 22, np.uint8), compression="gzip")
    with hdf5.Hdf5File(path, max_bytes=1 << 20) as file:
        for name, size in (("claimed", 1 << 42), ("zeros", 1 << 22)):
            with pytest.raises(arrays.ArrayFileError, match=f"is {size} bytes.*max_bytes=1048576"):
                file.read(name)
            assert file.read(name, (5, 9)).tolist() == [0, 0, 0, 0]
    with pytest.raises(arrays.ArrayFileError, match="datasets of more bytes"):
        hdf5.read_hdf5(path)


def test_a_chunk_that_unpacks_to_more_than_it_says_takes_no_memory(tmp_path):
    """A gzip chunk of 64 KiB that holds 8 GiB of zeros, in 8 MB of the file."""
    path = tmp_path / "a.h5"
    packer = zlib.compressobj(9)
    first, again = (
        packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    packed = first + again * 511 + packer.flush()
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "bomb", (1 << 16,), "u1", chunks=(1 << 16,), compression="gzip"
        )
        dataset.id.write_direct_chunk((0,), packed)
    with pytest.raises(arrays.ArrayFileError, match=r"a\.h5\[bomb\].*(memory|inflate|filter)"):
        hdf5.read_hdf5(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_file_names_itself(content, tmp_path):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(arrays.ArrayFileError, match=r"a\.h5: "):
        hdf5.read_hdf5(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError):
        hdf5.read_hdf5(tmp_path / "none.h5")
