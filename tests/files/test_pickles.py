import collections
import pickle

import numpy as np
import pytest

from tests.files import damage
from videobert_jax.files import arrays, pickles

VALUES = {
    "numbers": [0, 1, -1, 255, 256, 65536, -(2**31), 2**31, 2**200, -(2**200), 2.5, float("inf")],
    "constants": [None, True, False],
    "complex": 1 - 2j,
    "text": ["", "plain", "é\n'\"\\", "漢" * 100, "x" * 70000],
    "bytes": [b"", b"\x00\xff", b"y" * 300, bytearray(b"z")],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1, (2,)), [])],
    "many": list(range(3000)),
    "dictionary": {"a": {1: 2.0, (1, "b"): None}, b"k": []},
    "sets": [set(), {1, 2}, frozenset(), frozenset("ab")],
    "ordered": collections.OrderedDict(b=1, a=[2]),
    "default": collections.defaultdict(list, {"a": [1]}),
    "plain_default": collections.defaultdict(int),
}
ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "axes": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "strided": np.arange(20, dtype=np.int16)[::3],
    "empty": np.zeros((0, 3)),
    "scalar_array": np.array(3.0),
    "big_endian": np.arange(3, dtype=">i4"),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "booleans": np.array([True, False]),
    "half": np.ones(2, np.float16),
    "complex": np.ones(2, np.complex64),
    "fields": np.array([(1.5, [1, 2])], [("a", "<f4"), ("b", "<i2", (2,))]),
    "objects": np.array(["cut", None, [1, "b"], {"a": 1}], object),
    "float": np.float32(2.5),
    "integer": np.int64(-3),
    "string": np.str_("é"),
    "dtype": np.dtype("<i4"),
    "field_dtype": np.dtype([("a", "<f4"), ("b", "|S3")]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("optimized", [False, True])
def test_plain_values_come_back_as_pickle_reads_them(protocol, optimized, tmp_path):
    path = tmp_path / "a.pkl"
    dump = pickle._dumps if optimized else pickle.dumps  # the one in Python numbers its memo anew
    path.write_bytes(dump(VALUES, protocol))
    found = pickles.read_pickle(path)
    assert found == VALUES
    for name, value in VALUES.items():
        assert repr(found[name]) == repr(value) or "set" in repr(value)
    assert found["default"].default_factory is list


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_back_as_numpy_reads_them(protocol, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(ARRAYS, protocol))
    found, expected = pickles.read_pickle(path), pickle.loads(path.read_bytes())
    for name, value in expected.items():
        assert type(found[name]) is type(value), name
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize(("old", "new"), [(b"numpy._core", b"numpy.core"), (b"builtins", None)])
def test_names_of_older_numpy_and_python_are_known(old, new, tmp_path):
    """Protocol 0 has no lengths, so names can be replaced in the bytes."""
    content = pickle.dumps([ARRAYS["matrix"], ARRAYS["float"], {1}], 0, fix_imports=new is not None)
    assert old in content or old == b"builtins"
    (tmp_path / "a.pkl").write_bytes(content.replace(old, new or b"__builtin__"))
    matrix, scalar, members = pickles.read_pickle(tmp_path / "a.pkl")
    np.testing.assert_array_equal(matrix, ARRAYS["matrix"])
    assert scalar == np.float32(2.5) and members == {1}


def test_a_pickle_of_python_2_with_its_bytes_as_text(tmp_path):
    """Written as cPickle of Python 2.7 writes {'a': numpy.array([1, 2], 'i2'), 'é': 'x'} in
    protocol 2: strings are bytes, also the content of the array, and the memo begins at 1."""
    content = (
        b"\x80\x02}q\x01(U\x01aq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85cnumpy\ndtype\nq\x08U\x02i2q\tK\x00K\x01"
        b"\x87q\nRq\x0b(K\x03U\x01<q\x0cNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\rb\x89U\x04"
        b"\x01\x00\x02\x00q\x0etq\x0fbU\x02\xc3\xa9q\x10U\x01xq\x11u."
    )
    (tmp_path / "a.pkl").write_bytes(content)
    found = pickles.read_pickle(tmp_path / "a.pkl")
    expected = pickle.loads(content, encoding="latin-1")
    assert list(found) == list(expected) == ["a", "Ã©"] and found["Ã©"] == "x"
    np.testing.assert_array_equal(found["a"], [1, 2])


def test_what_is_shared_stays_shared(tmp_path):
    row = np.arange(3)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": row, "b": row, "c": [[row], [row]]}))
    found = pickles.read_pickle(tmp_path / "a.pkl")
    assert found["a"] is found["b"] is found["c"][1][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps(1) + b"x", "1 bytes behind the pickle's end"),
        (pickle.dumps(collections.Counter), r"holds `collections\.Counter`"),
        (b"\x80\x06.", "protocol 6, expected 0 to 5"),
        (b"\x80\x02\x82\x01.", "code"),
        (b"\x80\x02cbuiltins\nset\n.", "a class or function where a value was expected"),
        (b"\x80\x02]cbuiltins\nset\na.", "a class or function where a value was expected"),
        (b"\x80\x02}cbuiltins\nset\n\x85Ns.", "a key of type"),
        (b"\x80\x02(I1\n", "cut off"),
        (b"\x80\x02]q\x00]q\x01h\x00ah\x00Na.", "filled after it was put into another"),
        (b"Pnowhere\n.", "outside itself"),
        (b"\x80\x02N\x85R.", "stack"),
        (pickle.dumps(np.datetime64("2020-01-01")), "times of NumPy"),
    ],
)
def test_what_is_refused_is_named(content, said, tmp_path):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(arrays.ArrayFileError, match=rf"a\.pkl: .*{said}"):
        pickles.read_pickle(tmp_path / "a.pkl")


def test_a_dtype_in_use_is_never_changed(tmp_path):
    """Else an array would reach beyond its memory: one of 8 bytes whose dtype grows to 4096."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    dtype = b"cnumpy\ndtype\n" + text("V8") + b"\x85Rq\x05"
    array = b"cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8) + dtype + b"K\x01\x85"
    array += text("C") + b"tR"
    whole = b"\x80\x03" + array
    (tmp_path / "a.pkl").write_bytes(whole + b".")
    assert pickles.read_pickle(tmp_path / "a.pkl").nbytes == 8
    field = b"(" + text("a") + b"cnumpy\ndtype\n" + text("V8") + b"\x85RM\xf8\x0f\x86d"
    state = b"(K\x03" + text("|") + b"N" + text("a") + b"\x85" + field + b"M\x00\x10K\x01K\x10t"
    (tmp_path / "a.pkl").write_bytes(whole + b"h\x05" + state + b"b0.")
    with pytest.raises(arrays.ArrayFileError, match="filled after"):
        pickles.read_pickle(tmp_path / "a.pkl")


def test_the_damage_tests_read_what_they_damage(tmp_path):
    for number, content in enumerate(damage.pickle_files()):
        (tmp_path / f"{number}.pkl").write_bytes(content)
        assert len(pickles.read_pickle(tmp_path / f"{number}.pkl")) == 8
