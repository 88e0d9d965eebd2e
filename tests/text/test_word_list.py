import numpy as np
import pytest

from videobert_jax.files import arrays
from videobert_jax.text import word_list

WORDS = ["add", "the", "butter", "don't", "add"]


def test_words_are_numbered_from_one_and_unknown_ones_dropped():
    words = word_list.WordList(WORDS)
    assert words.ids("Don't ADD, the cold butter!") == [4, 5, 2, 3]
    np.testing.assert_array_equal(
        words.encode(["the butter", "add the the the butter"], 4), [[2, 3, 0, 0], [5, 2, 2, 2]]
    )


@pytest.mark.parametrize("dtype", ["U", "S"])
@pytest.mark.parametrize("vectors", [5, 6])
def test_a_list_is_read(tmp_path, dtype, vectors):
    np.save(tmp_path / "words.npy", np.array(["crème", *WORDS[1:]]).astype("U8"))
    if dtype == "S":
        np.save(tmp_path / "words.npy", np.char.encode(np.array(["crème", *WORDS[1:]]), "utf-8"))
    words = word_list.read(tmp_path / "words.npy", vectors)
    assert words.ids("crème the add") == ([1, 2, 5] if vectors == 6 else [1, 2])


@pytest.mark.parametrize("values", [np.arange(5), np.array([["a", "b"]]), np.array(["a"] * 9)])
def test_what_is_no_list_of_the_network_is_refused(tmp_path, values):
    np.save(tmp_path / "words.npy", values)
    with pytest.raises(word_list.WordListError, match="expected 4 words"):
        word_list.read(tmp_path / "words.npy", 5)


def test_pickled_words_are_refused(tmp_path):
    np.save(tmp_path / "words.npy", np.array(WORDS, object), allow_pickle=True)
    with pytest.raises(arrays.ArrayFileError, match="pickled"):
        word_list.read(tmp_path / "words.npy", 6)
