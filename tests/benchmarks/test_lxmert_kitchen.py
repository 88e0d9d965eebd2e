"""What LXMERT reads of a few videos of the embedded corpus, and what it is to tell."""

import numpy as np

from benchmarks import kitchen_runs, lxmert_kitchen
from tests.benchmarks.conftest import with_ends
from videobert_jax import configuration
from videobert_jax.tasks import questions
from videobert_jax.training import inputs


def test_hidden_words_and_clips_are_the_targets(corpora):
    corpus = corpora["pretrained"]
    captions = {
        tuple(with_ends(corpus, text))
        for split in map(corpus.dataset.split, ("train", "transcripts"))
        for text in split.texts(range(len(split)))
    }
    for k in range(3):
        rows = lxmert_kitchen.pretraining_rows(corpus, k)
        masked = rows["labels"] != lxmert_kitchen.IGNORED
        whole = np.where(masked, rows["labels"], rows["input_ids"])
        for ids, shown in zip(whole, rows["attention_mask"], strict=True):
            assert tuple(ids[shown > 0].tolist()) in captions
        assert 0 < masked.sum() < rows["attention_mask"].sum()
        if "features" not in rows:
            continue
        hidden = rows["feature_weights"] > 0
        assert (rows["visual_feats"][hidden] == 0).all()
        assert (rows["visual_feats"] == rows["features"])[~hidden].all()


def test_a_step_has_the_examples_and_the_hidden_words_of_ours(column, corpora):
    """Of the blocks that our network is trained on, with four examples a row."""
    config = configuration.load_file(str(kitchen_runs.ROOT / "configs/kitchen.py"))
    for key, value in {**column.settings, "data.path": column.data / "kitchen"}.items():
        configuration.apply_override(config, key, str(value))
    run = configuration.parse(config)
    assert run.data.examples_per_row == 4 and run.seed == 0
    packed = inputs.block_builder(run, inputs.open_sources(run), corpora["pretrained"].tokenizer)
    compared, every = 0, 0
    for k in range(6):
        ours, single = (
            hidden_words(of.build(k).batch) for of in (packed, corpora["pretrained"].builder)
        )
        assert sorted(ours) == sorted(single) and len(ours) == 8
        every += len(ours)
        for example, (length, words) in ours.items():
            if length == single[example][0]:  # where a row of four had room for all of it
                assert words == single[example][1]
                compared += 1
    assert compared > every / 4


def hidden_words(block) -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """Example -> (pieces, [(position of a hidden one, what it is)])."""
    found = {}
    for row, ids in enumerate(block.example_ids.tolist()):
        slots = block.text_slots[row][block.text_slot_weights[row] > 0]
        told = block.text_targets[row][block.text_slot_weights[row] > 0]
        for place, example in enumerate(ids):
            own = block.text_segment_ids[row] == place + 1
            at = own[slots]
            words = zip(
                block.text_positions[row][slots[at]].tolist(), told[at].tolist(), strict=True
            )
            found[example] = int(own.sum()), sorted(words)
    return found


def test_half_of_the_texts_are_those_of_other_videos(corpora):
    corpus = corpora["pretrained"]
    matched, pairs = [], 0
    for k in range(60):
        block = corpus.builder.build(k).batch
        rows = lxmert_kitchen.pretraining_rows(corpus, k)
        if "matched_label" not in rows:
            assert (block.video_segment_ids == 0).all()
            assert (rows["visual_feats"] == 0).all() and rows["visual_attention_mask"].all()
            continue
        pairs += 1
        matched += matched_texts(block, rows)
    assert pairs == 40  # of three blocks one is transcripts alone
    assert 0.4 < np.mean(matched) < 0.6


def matched_texts(block, rows) -> list[int]:
    """Which rows have their own text, that others have another video's compared with the block."""
    length, matched = rows["input_ids"].shape[1], rows["matched_label"].tolist()
    for row, fits in enumerate(matched):
        own = block.text_ids[row, :length]
        if fits:
            assert (rows["input_ids"][row] == own).all()
        else:
            read = (block.text_ids[:, :length] == rows["input_ids"][row]).all(axis=1)
            others = block.video_ids[:, 0] != block.video_ids[row, 0]
            others &= block.caption_hashes[:, 0] != block.caption_hashes[row, 0]
            assert (read & others).any()
    return matched


def test_steps_are_matched_with_a_few_of_their_clips(corpora):
    corpus, matched = corpora["localization"], []
    split = corpus.dataset.split("train_steps")
    said = {tuple(with_ends(corpus, text)) for text in split.texts(range(len(split)))}
    for k in range(30):
        block = corpus.builder.build(k).batch
        rows = lxmert_kitchen.matching_rows(corpus, k)
        matched += matched_texts(block, rows)
        clips = rows["visual_attention_mask"].sum(axis=1)
        assert clips.min() >= 1 and clips.max() <= 3
        for ids, shown in zip(rows["input_ids"], rows["attention_mask"], strict=True):
            assert tuple(ids[shown > 0].tolist()) in said
        assert rows.keys() == {*corpus.of_block(block), "matched_label"}
    assert 0.4 < np.mean(matched) < 0.6


def test_positions_are_places_in_the_longest_video_and_among_the_clips():
    shown = np.array([[True, True, False], [False, False, False]])
    found = lxmert_kitchen.positions(shown, 8)
    assert found[0].tolist() == [[0, 1 / 8, 0, 1 / 2], [1 / 8, 2 / 8, 1 / 2, 1], [0] * 4]
    assert (found[1] == 0).all()


def test_answers_and_labels_of_clips_are_told(corpora):
    corpus = corpora["qa"]
    rows = lxmert_kitchen.answering_rows(corpus, 0)
    of_split = questions.of_split(corpus.dataset, corpus.dataset.split("train"))
    asked = {tuple(with_ends(corpus, of.text)): set() for of in of_split}
    for of in of_split:
        asked[tuple(with_ends(corpus, of.text))].add(of.answer)
    for ids, shown, label in zip(
        rows["input_ids"], rows["attention_mask"], rows["labels"], strict=True
    ):
        assert corpus.lists.answers[label] in asked[tuple(ids[shown > 0].tolist())]
    rows = lxmert_kitchen.segmentation_rows(corpora["segmentation"], 0)
    there = rows["labels"] != lxmert_kitchen.IGNORED
    assert (there == (rows["visual_attention_mask"] > 0)).all()
    background = len(corpora["segmentation"].lists.clip_labels)
    assert rows["labels"].max() == background
    assert rows["input_ids"].tolist() == [corpus.no_text] * len(rows["input_ids"])
