"""Orders of near videos: permutations that keep the near together, files, and what is refused."""

import pathlib
import pickle

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tests.data import blocks
from videobert_jax.data import block, data_state, neighbours, order


def in_turn(counts: np.ndarray, videos: np.ndarray) -> neighbours.Neighbours:
    """A table of videos of so many examples each, in this order."""
    first = np.cumsum(counts) - counts
    before = np.concatenate([[0], np.cumsum(counts[videos])])
    nowhere = pathlib.Path("nowhere")
    return neighbours.Neighbours(nowhere, "d", {}, videos.astype(np.int32), first[videos], before)


def at_random(counts: np.ndarray) -> neighbours.Neighbours:
    return in_turn(counts, np.random.default_rng(0).permutation(len(counts)))


def test_examples_at_places_are_those_of_the_videos_in_turn():
    counts = np.array([3, 0, 1, 4, 2])
    table = at_random(counts)
    first = np.cumsum(counts) - counts
    expected = [first[video] + i for video in table.videos for i in range(counts[video])]
    assert table.examples_at(np.arange(10)).tolist() == expected


@hypothesis.given(
    strategies.lists(strategies.integers(0, 9), min_size=8, max_size=60),
    strategies.integers(0, 2**32),
    strategies.integers(1, 6),
    strategies.integers(2, 5),
)
@hypothesis.settings(deadline=None, max_examples=40)
def test_every_example_once_an_epoch_whatever_is_asked_beside_it(counts, seed, block_size, whole):
    table, window = at_random(np.array(counts)), block_size * whole
    size = sum(counts)
    hypothesis.assume(2 * window <= size - block_size)
    near = neighbours.NearOrder(table, window, block_size)
    ids = near.example_ids(seed, np.arange(3 * size))
    assert (np.sort(ids.reshape(3, size), axis=1) == np.arange(size)).all()
    asked = np.random.default_rng(0).integers(0, 3 * size, 20)
    assert near.example_ids(seed, asked).tolist() == ids[asked].tolist()


def test_orders_are_frozen():
    near = neighbours.NearOrder(at_random(np.full(5, 4)), 4, 2)
    ids = near.example_ids(3, np.arange(40)).tolist()
    assert ids[:20] == [4, 6, 7, 5, 15, 12, 14, 13, 8, 11, 10, 9, 19, 16, 17, 18, 2, 3, 0, 1]
    assert ids[20:] == [16, 17, 18, 11, 3, 6, 5, 4, 1, 2, 15, 0, 14, 13, 19, 12, 8, 9, 10, 7]


def test_whole_blocks_lie_in_one_window_and_epochs_differ():
    size, window, block_size = 1003, 64, 16
    near = neighbours.NearOrder(
        in_turn(np.array([10] * 100 + [3]), np.arange(101)), window, block_size
    )
    places = near.places(7, np.arange(40 * size))
    within = 0
    for start in range(0, len(places) - block_size + 1, block_size):
        of_block = np.sort(places[start : start + block_size])
        gaps = np.diff(np.append(of_block, of_block[0] + size))
        within += size - gaps.max() < window  # the arc that holds them
    whole = 40 * ((size - block_size + 1) // window) * (window // block_size)
    assert within >= whole > 0.9 * len(places) / block_size
    epochs = places.reshape(40, size)
    together = np.zeros((40, size), np.int64)  # with which example number 0 shares a window
    for epoch, of_epoch in enumerate(epochs):
        lead = -(epoch * size) % block_size
        groups = of_epoch[lead : lead + (size - block_size + 1) // window * window]
        for group in groups.reshape(-1, window):
            if 500 in group:
                together[epoch, group] = 1
    others = together.sum(0)
    assert others[500] >= 35 and 1.7 * window < (others > 0).sum() < 2 * window
    assert others[500] > others[[440, 560]].max()  # where windows begin changes
    assert len({tuple(row) for row in epochs[:, :block_size].tolist()}) == 40


def test_blocks_are_more_alike_than_random_ones():
    videos = 200
    angles = np.sort(np.random.default_rng(0).uniform(0, 2 * np.pi, videos))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    table = in_turn(np.full(videos, 6), np.arange(videos))
    near = neighbours.NearOrder.of_videos(table, 16, 48)
    assert near.window == 96

    def mean_cosine(ids: np.ndarray) -> float:
        of_blocks = vectors[ids.reshape(-1, 48) // 6]
        return float(np.square(of_blocks.mean(1)).sum(-1).mean())

    positions = np.arange(2400)
    assert mean_cosine(near.example_ids(1, positions)) > 0.9
    assert mean_cosine(order.example_ids(1, 1200, 1, positions)) < 0.1


@pytest.fixture
def written(dataset, tmp_path):
    """Path of an order of the training split, backwards."""
    path = tmp_path / "order.safetensors"
    split = dataset.split("train")
    about = {"dataset": dataset.name, "checkpoint": "run"}
    neighbours.write(path, split, np.arange(len(split.videos))[::-1], about)
    return path


def test_files_give_the_order_back_mapped_and_the_same_bytes_each_time(dataset, written, tmp_path):
    table = neighbours.load(written)
    assert table.videos.tolist() == [5, 4, 3, 2, 1, 0]
    assert table.examples_at(np.arange(18)).reshape(6, 3)[:, 0].tolist() == [15, 12, 9, 6, 3, 0]
    assert isinstance(table.videos, np.memmap) and not table.videos.flags.writeable
    assert table.about["num_examples"] == 18 and table.about["checkpoint"] == "run"
    copy = pickle.loads(pickle.dumps(table))
    assert copy.digest == table.digest and isinstance(copy.examples_before, np.memmap)
    again = tmp_path / "again.safetensors"
    about = {"dataset": dataset.name, "checkpoint": "run"}
    neighbours.write(again, dataset.split("train"), np.arange(6)[::-1], about)
    assert again.read_bytes() == written.read_bytes()
    neighbours.write(again, dataset.split("train"), np.arange(6), about)
    assert neighbours.load(again).digest != table.digest
    kept = pickle.dumps(neighbours.load(written))
    written.write_bytes(again.read_bytes())
    with pytest.raises(neighbours.NeighboursError, match="replaced while it was in use"):
        pickle.loads(kept)


def test_an_order_is_named_by_its_digest_too(dataset, written):
    table = neighbours.load(written)
    about = {"dataset": dataset.name, "checkpoint": "run"}
    name = neighbours.write(written, dataset.split("train"), np.arange(6)[::-1], about)
    assert name == f"{written}@{table.digest[:12]}"
    for digest in (table.digest[:12], table.digest):
        assert neighbours.load(f"{written}@{digest}").digest == table.digest
    other = "0" * 12 if table.digest[0] != "0" else "1" * 12
    with pytest.raises(neighbours.NeighboursError) as caught:
        neighbours.load(f"{written}@{other}")
    for part in (table.digest[:12], f"expected {other}", f"or name {name}"):
        assert part in str(caught.value)
    short = written.rename(f"{written}@{other}")  # a file of such a name is that file
    assert neighbours.load(short).digest == table.digest


def test_damaged_and_foreign_files_are_refused(dataset, written, tmp_path):
    content = written.read_bytes()
    for damaged, message in (
        (content[:-8], "not an order of near videos"),
        (content[:-1] + b"\x01", "other columns than were written"),
        (
            content.replace(b'"format_version\\": 1', b'"format_version\\": 9'[:20]),
            "install a newer",
        ),
    ):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(neighbours.NeighboursError, match=message):
            neighbours.load(tmp_path / "damaged")
    with pytest.raises(neighbours.NeighboursError, match="cluster-videos"):
        neighbours.load(tmp_path / "nowhere")
    with pytest.raises(neighbours.NeighboursError, match="3 videos in order of 6"):
        neighbours.write(tmp_path / "short", dataset.split("train"), np.arange(3), {})


def _builder(dataset, tokenizer, path, split="train", block_size=2, videos=2):
    table = None if path is None else neighbours.load(path)
    source = block.Source(dataset.split(split), "text_video", 1.0, table, videos)
    return block.BlockBuilder([source], tokenizer, blocks.settings(block_size=block_size))


def test_blocks_follow_the_order_of_their_source(dataset, tokenizer, written):
    builder = _builder(dataset, tokenizer, written)
    copy = pickle.loads(pickle.dumps(builder))
    seen = []
    for k in range(27):
        built = builder.build(k)
        blocks.assert_same(built, copy.build(k))
        seen += built.batch.example_ids.reshape(-1).tolist()
    epochs = np.array(seen).reshape(3, 18)
    assert (np.sort(epochs, axis=1) == np.arange(18)).all()
    windows = epochs[:, :12].reshape(-1, 6) // 3  # of six examples, of neighbouring videos
    spans = [len(set(window.tolist())) for window in windows]
    assert max(spans) <= 3 < 6


def test_a_run_goes_on_with_the_same_order_alone(dataset, tokenizer, written, tmp_path):
    saved = data_state.data_state(_builder(dataset, tokenizer, written), 1, 3)
    data_state.check_data_state(
        saved, data_state.data_state(_builder(dataset, tokenizer, written), 1, 3)
    )
    other = tmp_path / "other.safetensors"
    neighbours.write(other, dataset.split("train"), np.arange(6), {"dataset": "drawn"})
    for path, videos in ((other, 2), (None, 0), (written, 1)):
        current = data_state.data_state(_builder(dataset, tokenizer, path, videos=videos), 1, 3)
        with pytest.raises(data_state.DataStateError, match="sources.0.neighbours.*: the"):
            data_state.check_data_state(saved, current)


def test_neighbours_of_another_split_and_too_many_are_refused(dataset, tokenizer, written):
    with pytest.raises(
        neighbours.NeighboursError, match="of split 'train' of drawn .*split 'test'"
    ):
        _builder(dataset, tokenizer, written, split="test")
    with pytest.raises(ValueError, match="neighbour_videos=4 of 6 are 12 .* orders 18: not two"):
        _builder(dataset, tokenizer, written, videos=4)
