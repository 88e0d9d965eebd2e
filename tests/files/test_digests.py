import hashlib

import numpy as np

from videobert_jax.files import digests


def test_known_digest_of_bytes_and_file(tmp_path):
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    (tmp_path / "abc").write_bytes(b"abc")
    assert digests.sha256_bytes(b"abc") == digests.sha256_file(tmp_path / "abc") == known


def test_an_array_digest_knows_values_shape_and_dtype_but_not_layout():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = hashlib.sha256(b"float32[2, 3]" + array.tobytes()).hexdigest()
    assert digests.sha256_array(array) == expected
    assert digests.sha256_array(np.asfortranarray(array)) == expected
    assert digests.sha256_array(array.astype(">f4")) == expected
    assert digests.sha256_array(np.repeat(array, 2, axis=1)[:, ::2]) == expected
    strided = np.arange(6)[::2]
    assert digests.sha256_array(strided) == digests.sha256_array(np.array([0, 2, 4]))
    others = (array.T, array.reshape(3, 2), array.view(np.int32), array + 1, array[:0])
    assert len({digests.sha256_array(x) for x in others} | {expected}) == 6


def test_json_digest_ignores_the_order_of_keys():
    assert digests.sha256_json({"a": 1, "b": [2]}) == digests.sha256_json({"b": [2], "a": 1})
    assert digests.sha256_json({"a": 1}) != digests.sha256_json({"a": 2})
