import numpy as np

from videobert_jax.data import index, random_reads


def test_values_read_by_position_are_those_that_are_mapped(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(-(2**31), 2**31, 5000).astype(np.int64)
    np.save(tmp_path / "column.npy", values)
    mapped = np.load(tmp_path / "column.npy", mmap_mode="r")
    ids = np.array([[0, 4999], [17, 17]])
    asked = []
    pieces_of = random_reads.pieces_of
    with monkeypatch.context() as patch:
        patch.setattr(random_reads, "MAPPED_BYTES", 100)
        patch.setattr(random_reads, "pieces_of", lambda *a: asked.append(a) or pieces_of(*a))
        np.testing.assert_array_equal(random_reads.take(mapped, ids), values[ids])
        assert len(asked) == 1 and random_reads.take(mapped, np.zeros(0, np.int64)).shape == (0,)
    np.testing.assert_array_equal(random_reads.take(mapped, ids), values[ids])


def test_captions_of_a_large_index_are_the_same(dataset, monkeypatch):
    split = dataset.splits["train"]
    expected = split.texts(range(len(split)))
    monkeypatch.setattr(random_reads, "MAPPED_BYTES", 0)
    again = index.open_dataset(dataset.path).splits["train"]
    assert again.texts(range(len(split))) == expected and again.texts([]) == []
    assert "_text" not in again.__dict__  # never mapped
