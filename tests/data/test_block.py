import dataclasses
import pickle

import numpy as np
import pytest

from tests.data import blocks, drawn
from videobert_jax import schema
from videobert_jax.data import block, writer
from videobert_jax.data.config import AS_WRITTEN
from videobert_jax.text import content_words


def _features(split, example: int) -> np.ndarray:
    """The whole run of an example, from the features as they were drawn."""
    video = drawn.drawn_videos(split.name)[split.videos[split.video[example]]]
    first = split.first_clip[example]
    return video[first : first + split.clip_count[example]]


@pytest.mark.parametrize("examples", [1, 4])
def test_examples_come_out_as_they_were_written(dataset, tokenizer, examples):
    split = dataset.split("train")
    lengths = {"text_length": 48 * examples, "video_length": 40 * examples}
    builder = blocks.train_builder(dataset, tokenizer, examples=examples, block_size=12, **lengths)
    assert len(split) == 18
    seen: list[int] = []
    for k in range(3):  # two epochs
        built = builder.build(k)
        assert (built.damaged, built.cut_pieces, built.cut_clips) == (0, 0, 0)
        given = blocks.examples_of(built)
        seen += built.batch.example_ids.reshape(-1).tolist()
        for example, found in given.items():
            pieces = tokenizer.encode(split.texts([example]))[0]
            expected = [tokenizer.cls_id, *pieces, tokenizer.sep_id] if pieces else []
            assert found["ids"] == expected
            features = _features(split, example)
            assert found["features"].tobytes() == features.tobytes()
            assert found["video"] == split.video[example]
            assert found["clip"] == split.first_clip[example]
            assert found["caption"] == split.caption_hash[example]
            hidden = [s != t for s, t in zip(found["seen"], found["ids"], strict=True)]
            assert not any(hidden[:1] + hidden[-1:])  # [CLS] and [SEP]
            shown = len(features) > 0 and not found["masked"].all()
            assert found["pair"] == float(bool(pieces) and shown)
    assert sorted(seen) == sorted([*range(18), *range(18)])


def test_masks_are_recorded_at_the_rate(dataset, tokenizer):
    builder = blocks.train_builder(dataset, tokenizer, block_size=120)
    batch = builder.build(0).batch
    pieces = (batch.text_segment_ids > 0).sum() - 2 * (batch.caption_hashes > 0).sum()
    # one word at least, and here words have many pieces
    assert 0.14 < batch.text_slot_weights.sum() / pieces < 0.35
    assert 0.1 < batch.video_masked.sum() / (batch.video_segment_ids > 0).sum() < 0.3
    assert (batch.text_ids == tokenizer.mask_id).sum() > 0.6 * batch.text_slot_weights.sum()
    assert (batch.text_slots[batch.text_slot_weights == 0] == 0).all()


def _with_hidden(dataset, tokenizer, **changes) -> dict[str, np.ndarray]:
    """Of 2,048 examples: has hidden words, has hidden clips, has both sides, counts as a pair."""
    masking = dataclasses.replace(blocks.MASKING, text_rate=0.5, video_rate=0.5, **changes)
    builder = blocks.train_builder(dataset, tokenizer, masking=masking, block_size=256)
    batches = [builder.build(k).batch for k in range(8)]
    rows = {
        "text": [batch.text_slot_weights.any(axis=1) for batch in batches],
        "video": [batch.video_slot_weights.any(axis=1) for batch in batches],
        "both": [
            (batch.text_segment_ids > 0).any(axis=1) & (batch.video_segment_ids > 0).any(axis=1)
            for batch in batches
        ],
        "pair": [batch.pair_weights[:, 0] > 0 for batch in batches],
    }
    return {name: np.concatenate(values) for name, values in rows.items()}


def test_a_share_of_the_examples_is_masked(dataset, tokenizer):
    every = _with_hidden(dataset, tokenizer)
    found = _with_hidden(dataset, tokenizer, text_examples=0.5, video_examples=0.25)
    for side, share in (("text", 0.5), ("video", 0.25)):
        assert not (found[side] & ~every[side]).any()
        assert abs(found[side].sum() / every[side].sum() - share) < 0.05
    together = (found["text"] & found["video"]).mean()
    assert abs(together - found["text"].mean() * found["video"].mean()) < 0.04  # independent


def test_pairs_may_be_whole_examples_alone(dataset, tokenizer):
    shares = {"text_examples": 0.5, "video_examples": 0.25}
    found = _with_hidden(dataset, tokenizer, whole_pairs=True, **shares)
    whole = found["both"] & ~found["text"] & ~found["video"]
    np.testing.assert_array_equal(found["pair"], whole)
    assert 0.1 < whole.mean() < 0.9
    assert _with_hidden(dataset, tokenizer, **shares)["pair"].sum() > 1.5 * whole.sum()


WHOLE_TEXTS = dataclasses.replace(blocks.MASKING, text_rate=0.0, whole_text_examples=0.4)


@pytest.mark.parametrize("slots", [48, 4])  # for all pieces of a text, or for a few of them
def test_a_text_hidden_as_a_whole_is_told_from_the_clips_and_pairs_with_nothing(
    dataset, tokenizer, slots
):
    builder = blocks.train_builder(
        dataset, tokenizer, block_size=18, masking=WHOLE_TEXTS, slots=slots
    )
    whole = 0
    for found in (f for k in range(8) for f in blocks.examples_of(builder.build(k)).values()):
        seen, ids = found["seen"][1:-1], found["ids"][1:-1]
        if not ids or seen == ids:
            continue
        whole += 1
        assert set(seen) == {tokenizer.mask_id} and found["pair"] == 0.0
        assert len(found["features"]) and not found["masked"].all()  # or nothing would be seen
    assert whole > 20


def test_a_text_without_clips_is_never_hidden_as_a_whole(dataset, tokenizer):
    builder = blocks.train_builder(
        dataset, tokenizer, "text_only", block_size=18, masking=WHOLE_TEXTS
    )
    for found in (f for k in range(4) for f in blocks.examples_of(builder.build(k)).values()):
        assert found["seen"] == found["ids"] and tokenizer.mask_id not in found["seen"]


def test_hidden_words_stand_together_as_long_as_asked(dataset, tokenizer):
    def mean_run(mean_span: float) -> float:
        spans = {"text_rate": 0.2, "text_mean_span": mean_span, "whole_words": False}
        masking = dataclasses.replace(blocks.MASKING, **spans)
        batch = (
            blocks.train_builder(dataset, tokenizer, block_size=240, masking=masking).build(0).batch
        )
        hidden = np.zeros(batch.text_ids.shape, np.bool_)
        rows, slots = np.nonzero(batch.text_slot_weights)
        hidden[rows, batch.text_slots[rows, slots]] = True
        return hidden.sum() / (hidden[:, 1:] & ~hidden[:, :-1]).sum()

    assert mean_run(3.0) > 1.3 * mean_run(1.0)


def test_a_block_is_a_pure_function_of_its_number(dataset, tokenizer):
    builder = blocks.train_builder(dataset, tokenizer, examples=2, text_length=96)
    copy = pickle.loads(pickle.dumps(builder))
    for k in (5, 0, 5):
        blocks.assert_same(builder.build(k), copy.build(k))
    other = blocks.train_builder(dataset, tokenizer, examples=2, text_length=96, seed=1)
    assert other.build(5).batch.text_ids.tobytes() != builder.build(5).batch.text_ids.tobytes()


@pytest.mark.parametrize("regime", ["text_only", "video_only"])
def test_regimes_leave_a_side_out(dataset, tokenizer, regime):
    for found in blocks.examples_of(
        blocks.train_builder(dataset, tokenizer, regime).build(0)
    ).values():
        assert found["pair"] == 0
        if regime == "text_only":
            assert len(found["features"]) == 0
        else:
            assert found["ids"] == [] and found["caption"] == 0
            assert not len(found["masked"]) or not found["masked"].all()  # something is seen


def test_sources_number_their_examples_apart_and_share_a_split(dataset, tokenizer):
    train, spoken = dataset.split("train"), dataset.split("spoken")
    sources = [(train, "text_video", 2.0), (spoken, "text_only", 1.0), (train, "video_only", 1.0)]
    builder = block.BlockBuilder(sources, tokenizer, blocks.settings(block_size=20))
    seen: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    videos: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for k in range(8):
        source, _ = builder.schedule.locate(k)
        batch = builder.build(k).batch
        seen[source] |= set(batch.example_ids.reshape(-1).tolist())
        videos[source] |= set(batch.video_ids.reshape(-1).tolist())
    assert seen == {0: set(range(18)), 1: {18, 19}, 2: set(range(18))}
    assert videos == {0: set(range(6)), 1: {6}, 2: set(range(6))}


DRAWN = dataclasses.replace(
    AS_WRITTEN,
    overlapped_examples=0.5,
    overlapped_min_clips=2,
    overlapped_max_clips=6,
    highest_rate=3,
)


@pytest.mark.parametrize("examples", [1, 2])
def test_overlapped_and_subsampled_clips_are_those_of_the_video(dataset, tokenizer, examples):
    split, videos = dataset.split("train"), drawn.drawn_videos("train")
    lengths = {"text_length": 48 * examples, "video_length": 40 * examples}
    builder = blocks.train_builder(
        dataset, tokenizer, drawing=DRAWN, examples=examples, block_size=18, **lengths
    )
    steps, outside = set(), 0
    for k in range(20):
        batch = builder.build(k).batch
        for row, place in np.ndindex(batch.example_ids.shape):
            example = batch.example_ids[row, place]
            mine = batch.video_segment_ids[row] == place + 1
            found = batch.video_features[row][mine]
            first, step = batch.clip_indices[row, place], batch.clip_steps[row, place]
            whole = videos[split.videos[split.video[example]]]
            expected = whole[first : first + step * len(found) : step]
            assert found.tobytes() == expected.tobytes()
            steps.add(int(step))
            begin = split.first_clip[example]
            last = first + step * (len(found) - 1)
            outside += len(found) > 0 and not (
                begin <= first and last < begin + split.clip_count[example]
            )
    assert steps == {1, 2, 3} and outside > 20


def test_what_is_kept_of_subsampled_clips_are_neighbours_among_them(dataset, tokenizer):
    split, drawing = dataset.split("train"), dataclasses.replace(AS_WRITTEN, highest_rate=3)
    builder = blocks.train_builder(
        dataset, tokenizer, drawing=drawing, block_size=18, video_length=4
    )
    moved = set()
    for batch in (builder.build(k).batch for k in range(10)):
        example, step = batch.example_ids[:, 0], batch.clip_steps[:, 0]
        ahead = batch.clip_indices[:, 0] - split.first_clip[example]
        kept = (batch.video_segment_ids > 0).sum(1)
        assert ((ahead % step == 0) & (ahead + step * (kept - 1) < split.clip_count[example])).all()
        moved |= set((ahead // step)[step == 3].tolist())
    assert len(moved) > 5


def test_joined_examples_have_the_texts_of_both_and_the_clips_between(
    tmp_path, contract, tokenizer
):
    out = writer.DatasetWriter(tmp_path / "joined", "joined", contract)
    texts = ("stir the crème", "cut all of it", "stir")
    videos = np.random.default_rng(0).normal(size=(4, 12, drawn.DIM)).astype(np.float16)
    for number, features in enumerate(videos):
        places = [(1, 2), (4, 3), (9, 2)]
        segments = [writer.Segment(0, 1, t, clips=at) for t, at in zip(texts, places, strict=True)]
        out.add_video("train", str(number), features, segments)
    split = out.finish().split("train")
    drawing = dataclasses.replace(AS_WRITTEN, joined_examples=0.5)
    settings = blocks.settings(drawing=drawing, block_size=12, masking=blocks.NO_MASKING)
    builder = block.BlockBuilder([(split, "text_video", 1.0)], tokenizer, settings)
    choices = {  # text, first clip, end: alone, joined
        0: [(texts[0], 1, 3), (f"{texts[0]} {texts[1]}", 1, 7)],
        1: [(texts[1], 4, 7), (f"{texts[1]} {texts[2]}", 4, 11)],
        2: [(texts[2], 9, 11)],
    }
    joined = 0
    for found in (blocks.examples_of(builder.build(k)) for k in range(10)):
        for example, values in found.items():
            video, segment = divmod(example, 3)
            ids = [tokenizer.encode([text])[0] for text, *_ in choices[segment]]
            taken = ids.index(values["ids"][1:-1])
            _, first, end = choices[segment][taken]
            assert values["features"].tobytes() == videos[video, first:end].tobytes()
            assert values["clip"] == first and values["pair"] == 1.0
            joined += taken
    assert 0.3 < joined / 80 < 0.7  # of four videos two segments have one behind them


def test_a_run_without_text_is_as_short_as_asked(dataset, tokenizer):
    drawing = dataclasses.replace(AS_WRITTEN, run_clips=7)
    builder = blocks.train_builder(dataset, tokenizer, "video_only", drawing=drawing, block_size=18)
    firsts, lengths = [], []
    for k in range(10):
        batch = builder.build(k).batch
        lengths += (batch.video_segment_ids > 0).sum(1).tolist()
        firsts += batch.clip_indices[:, 0].tolist()
    assert max(lengths) == 7 and len(set(firsts)) > 15
    assert builder.build(0).cut_clips == 0  # a draw, not a loss


def test_what_does_not_fit_is_cut_and_counted(dataset, tokenizer):
    split = dataset.split("train")
    builder = blocks.train_builder(dataset, tokenizer, block_size=18, text_length=8, video_length=8)
    built = builder.build(0)
    wanted_clips = np.minimum(split.clip_count, 10**9).sum()
    kept = 0
    for example, found in blocks.examples_of(built).items():
        pieces = tokenizer.encode(split.texts([example]))[0]
        assert found["ids"][1:-1] == pieces[:6]
        count = min(8, split.clip_count[example])
        offset = found["clip"] - split.first_clip[example]
        whole = _features(split, example)
        assert found["features"].tobytes() == whole[offset : offset + count].tobytes()
        kept += count
    assert built.cut_clips == wanted_clips - kept > 0
    texts = tokenizer.encode(split.texts(range(18)))
    assert built.cut_pieces == sum(max(0, len(pieces) - 6) for pieces in texts) > 0
    windows = {
        blocks.examples_of(builder.build(k))[11]["clip"] for k in range(12)
    }  # the run of 40 clips
    assert len(windows) > 5


def test_evaluation_is_exact_and_does_not_depend_on_the_size_of_blocks(dataset, tokenizer):
    split = dataset.split("test")

    def found(block_size: int, masking) -> dict:
        settings = blocks.settings(block_size=block_size, masking=masking, video_length=8)
        builder = block.EvaluationBuilder(split, tokenizer, settings)
        ids, out = [], {}
        for k in range(builder.num_blocks):
            built = builder.build(k)
            ids += built.batch.example_ids.reshape(-1).tolist()
            out |= blocks.examples_of(built)
        assert ids[: len(split)] == list(range(len(split)))
        assert set(ids[len(split) :]) <= {schema.PADDING_EXAMPLE}
        return out

    plain = found(4, blocks.NO_MASKING)
    for example, values in plain.items():
        count = split.clip_count[example]
        kept = min(count, 8)
        first = split.first_clip[example] + (count - kept) // 2
        assert values["clip"] == first or not count
        assert values["seen"] == values["ids"] and not values["masked"].any()
        assert values["pair"] == float(bool(values["ids"]) and count > 0)
    masked, others = found(2, blocks.MASKING), found(6, blocks.MASKING)
    assert any(values["masked"].any() for values in masked.values())
    for example, values in masked.items():
        assert values["seen"] == others[example]["seen"]
        assert (values["masked"] == others[example]["masked"]).all()
        assert values["features"].tobytes() == plain[example]["features"].tobytes()


@pytest.mark.parametrize("examples", [1, 2])
def test_content_words_weigh_where_they_are_seen(dataset, tokenizer, examples):
    split = dataset.split("train")
    texts = split.texts(range(len(split)))
    about = content_words.count(texts, None, {})
    length = 48 * examples
    masking = dataclasses.replace(blocks.MASKING, text_rate=0.4)
    settings = blocks.settings(
        block_size=18, examples=examples, text_length=length, masking=masking, weighted=length
    )
    sources = [(split, "text_video", 1.0)]
    words = content_words.WordWeights(about, tokenizer)
    batch = block.BlockBuilder(sources, tokenizer, settings, words).build(0).batch
    hidden = 0
    for row, place in np.ndindex(batch.example_ids.shape):
        mine = np.flatnonzero(batch.text_segment_ids[row] == place + 1)
        slots = batch.text_slots[row][batch.text_slot_weights[row] > 0]
        ids = np.array(tokenizer.encode([texts[batch.example_ids[row, place]]])[0], np.int32)
        whole = words.of_pieces(ids)
        shown = ~np.isin(mine[1:-1], slots)
        np.testing.assert_array_equal(batch.word_weights[row, mine[1:-1]], whole * shown)
        assert not batch.word_weights[row, mine[[0, -1]] if len(mine) else []].any()
        hidden += whole[~shown].sum() > 0
    assert hidden > 5 and batch.word_weights.any()
    assert not batch.word_weights[batch.text_segment_ids == 0].any()
    with pytest.raises(ValueError, match="give both or neither"):
        block.BlockBuilder(sources, tokenizer, settings)


def test_contradictory_settings_are_refused(dataset, tokenizer):
    with pytest.raises(ValueError, match="use 12 or more"):
        blocks.settings(examples=4, text_length=8)
    with pytest.raises(ValueError, match="is not divisible by"):
        blocks.settings(examples=3, text_length=96)
    with pytest.raises(ValueError, match="text_length=20000; expected at most 16384"):
        blocks.settings(text_length=20000)
    with pytest.raises(ValueError, match="24 dimensions, expected 7"):
        settings = blocks.settings()
        shape = schema.RowShape(1, 48, 40, 8, 8, 7, 0, 0, 0, 0)
        settings = block.BlockSettings(shape, 8, settings.drawing, settings.masking, 0, 1, 0.0, 1)
        block.BlockBuilder([(dataset.split("train"), "text_video", 1.0)], tokenizer, settings)
