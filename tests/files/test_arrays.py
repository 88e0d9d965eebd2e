import io
import zipfile

import numpy as np
import pytest

from tests.files import damage
from videobert_jax.files import arrays


@pytest.mark.parametrize("dtype", ["float16", "int64", "<U5", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_numpy_reads_them(tmp_path, dtype, order):
    array = np.asarray(np.arange(12).reshape(3, 4).astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", first=array, scalar=np.float32(3))
    for mapped in (False, True):
        np.testing.assert_array_equal(arrays.read_npy(tmp_path / "a.npy", mapped=mapped), array)
    archive = arrays.read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(archive["first"], array)
    assert archive["scalar"].shape == () and archive["scalar"] == 3


def test_an_empty_array_can_be_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 3), np.float32))
    assert arrays.read_npy(tmp_path / "a.npy", mapped=True).shape == (0, 3)


@pytest.mark.parametrize("keep", [0, 5, 60, 150])
def test_a_truncated_file_names_itself(tmp_path, keep):
    path = tmp_path / "cut.npy"
    np.save(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(arrays.ArrayFileError, match="cut.npy"):
        arrays.read_npy(path)


def test_any_flipped_bit_of_a_header_is_an_error_or_harmless(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6, dtype=np.float32).reshape(2, 3))
    whole = path.read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for bit in range(8 * 128):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert arrays.read_npy(path).nbytes == 24
            outcomes["read"] += 1
        except arrays.ArrayFileError as error:
            assert "a.npy" in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 500


def test_objects_are_not_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("code in the file was run",))

    np.save(tmp_path / "o.npy", np.array([Bomb()], object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", a=np.array([Bomb()], object))
    with pytest.raises(arrays.ArrayFileError, match="pickled objects"):
        arrays.read_npy(tmp_path / "o.npy")
    with pytest.raises(arrays.ArrayFileError, match="pickled objects"):
        arrays.read_npz(tmp_path / "o.npz")


def test_a_header_that_claims_terabytes_is_refused_before_reading(tmp_path):
    header = io.BytesIO()
    fields = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(header, fields)
    (tmp_path / "big.npy").write_bytes(header.getvalue() + bytes(64))
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("../outside.npy", header.getvalue() + bytes(64))
    with pytest.raises(arrays.ArrayFileError, match="64 bytes of data"):
        arrays.read_npy(tmp_path / "big.npy")
    with pytest.raises(arrays.ArrayFileError, match="64 bytes of data"):
        arrays.read_npz(tmp_path / "big.npz")


def test_a_damaged_archive_is_an_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(1000))
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    with pytest.raises(arrays.ArrayFileError, match=r"a\.npz"):
        arrays.read_npz(path)
    path.write_bytes(content[:100])
    with pytest.raises(arrays.ArrayFileError, match=r"a\.npz"):
        arrays.read_npz(path)


def test_an_archive_is_read_array_by_array(tmp_path):
    path = tmp_path / "a.npz"
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez_compressed(path, rows=rows, words=np.array(["a", "bc"]))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.npy", damage.npy_files()[0])
        archive.writestr("notes.txt", "no array")
    with arrays.open_npz(path) as archive:
        assert archive.names == ["rows", "words", "../../outside", "notes.txt"]
        assert archive.header("rows") == ((3, 4), np.dtype(np.float32))
        np.testing.assert_array_equal(archive.read("rows"), rows)
        assert archive.read("words").tolist() == ["a", "bc"]
        assert archive.read("../../outside").shape == (6, 10)
        with pytest.raises(arrays.ArrayFileError, match=r"a\.npz\[notes\.txt\]: begins with"):
            archive.read("notes.txt")
        with pytest.raises(arrays.ArrayFileError, match=r"\[none\]: no such array; there are 4"):
            archive.read("none")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]
    with pytest.raises(arrays.ArrayFileError, match="unpacks from .* max_bytes=100"):
        arrays.read_npz(path, max_bytes=100)


def test_two_arrays_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", damage.npy_files()[0])
        archive.writestr("a", damage.npy_files()[0])
    with pytest.raises(arrays.ArrayFileError, match="two arrays of the same name"):
        arrays.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", ["U", object])
def test_a_list_of_words_is_read_in_either_form(tmp_path, dtype):
    """As the word list of the MIL-NCE model is: text, or objects that are text."""
    words = np.array(["cut", "crème"], dtype)
    np.save(tmp_path / "words.npy", words, allow_pickle=True)
    np.savez(tmp_path / "words.npz", words=words)
    assert arrays.read_npy(tmp_path / "words.npy", objects=True).tolist() == ["cut", "crème"]
    found = arrays.read_npz(tmp_path / "words.npz", objects=True)["words"]
    assert found.tolist() == ["cut", "crème"]


def test_characters_that_cannot_be_are_refused(tmp_path):
    whole = tmp_path / "words.npy"
    np.save(whole, np.array(["cut", "stir"], ">U4"))
    assert arrays.read_npy(whole).tolist() == ["cut", "stir"]
    whole.write_bytes(whole.read_bytes()[:-4] + b"\x00\x11\x00\x00")
    with pytest.raises(arrays.ArrayFileError, match="words.npy.*the character 0x110000, beyond"):
        arrays.read_npy(whole)


def test_fields_and_newer_headers(tmp_path):
    fields = np.array([(1.5, "é", [1, 2])], [("start", "<f4"), ("時", "<U3"), ("at", "<i2", (2,))])
    with pytest.warns(UserWarning, match="format 3.0"):
        np.save(tmp_path / "a.npy", fields)
    for mapped in (False, True):
        found = arrays.read_npy(tmp_path / "a.npy", mapped=mapped)
        assert found.dtype == fields.dtype
        np.testing.assert_array_equal(found, fields)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3), }", None),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}", "shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3]}", "shape"),
        ("{'descr': '<f4', 'fortran_order': 1, 'shape': (2, 3)}", "fortran_order 1"),
        ("{'descr': 'f4,f4', 'fortran_order': False, 'shape': (3,)}", "dtype 'f4,f4'"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (99,)}", "24 bytes"),
        ("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3,)}", "structured"),
        ("{'descr': '<f4', 'shape': (2, 3)}", "expected"),
        ("-" * 9000 + "1", "MemoryError"),
        ("[" * 9000, "SyntaxError"),
        ("__import__('os').abort()", "ValueError"),
    ],
)
def test_a_header_by_hand(tmp_path, header, said):
    content = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode()
    (tmp_path / "a.npy").write_bytes(content + np.arange(6, dtype=np.float32).tobytes())
    if said is None:
        assert arrays.read_npy(tmp_path / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
        return
    with pytest.raises(arrays.ArrayFileError, match=rf"a\.npy: .*{said}"):
        arrays.read_npy(tmp_path / "a.npy")
