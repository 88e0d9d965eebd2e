"""What examples say and what is to be written of them: captions, transcripts in their place."""

import dataclasses
import pickle

import numpy as np
import pytest

from tests.data import blocks, drawn
from videobert_jax.data import block, index, texts, writer

CLIPS = 12  # of 1.6 s each
STEPS = {
    "stew": [(0.0, 4.0, "cut the onion"), (4.0, 8.0, "stir"), (8.0, 19.0, "")],
    "bread": [(1.0, 3.0, "knead the dough"), (6.0, 12.0, "let it rise")],
    "silent": [(0.0, 9.6, "pour the milk")],
}
SAID = {  # out of order, and another order of videos
    "bread": [(2.5, 7.0, "a little more flour"), (0.0, 1.5, "welcome back"), (30.0, 31.0, "bye")],
    "elsewhere": [(0.0, 20.0, "nobody's")],
    "stew": [(3.0, 5.0, "careful now"), (1.0, 3.0, "two of them"), (8.0, 8.5, "smells nice")],
}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory, contract) -> index.Dataset:
    out = writer.DatasetWriter(tmp_path_factory.mktemp("recipes") / "set", "recipes", contract)
    generator = np.random.default_rng(0)
    for name, steps in STEPS.items():
        features = generator.normal(size=(CLIPS, drawn.DIM)).astype(np.float16)
        out.add_video("train", name, features, [writer.Segment(*step) for step in steps])
    for name, said in SAID.items():
        out.add_video("narration", name, None, [writer.Segment(*sentence) for sentence in said])
    out.add_video("untimed", "stew", None, [writer.Segment(0, 0, "somewhen")])
    out.add_video("others", "elsewhere", None, [writer.Segment(0, 1, "hello")])
    return out.finish()


@pytest.fixture(scope="module")
def tokenizer(recipes):
    return blocks.make_tokenizer(recipes)


def expected_speech(name: str, begin: float, end: float) -> str:
    """Sentences of a video that share time with an interval, by when they begin."""
    shared = [s for s in sorted(SAID.get(name, [])) if s[0] < end and s[1] > begin]
    return " ".join(text for _, _, text in shared)


def examples(recipes) -> list[tuple[str, float, float, str]]:
    return [(name, *step) for name, steps in STEPS.items() for step in steps]


def test_what_is_said_is_what_shares_time_with_the_example(recipes):
    spoken = texts.Spoken(recipes.split("train"), recipes.split("narration"))
    ids = np.array([3, 0, 5, 2, 1, 4])
    for made in (spoken, pickle.loads(pickle.dumps(spoken))):
        found = made.texts(ids, np.full(6, -1))
        assert found == [expected_speech(*examples(recipes)[i][:3]) for i in ids]
    assert found[:3] == ["welcome back a little more flour", "two of them careful now", ""]


def test_joined_examples_have_what_is_said_from_the_first_to_the_last(recipes):
    spoken = texts.Spoken(recipes.split("train"), recipes.split("narration"))
    found = spoken.texts(np.array([0, 3]), np.array([1, -1]))
    assert found == [expected_speech("stew", 0.0, 8.0), expected_speech("bread", 1.0, 3.0)]


def test_transcripts_of_other_videos_or_without_times_are_refused(recipes):
    train = recipes.split("train")
    with pytest.raises(ValueError, match="others of .* has no video of split train"):
        texts.Spoken(train, recipes.split("others"))
    with pytest.raises(ValueError, match="untimed of .* says of no sentence when it is spoken"):
        texts.Spoken(train, recipes.split("untimed"))


def targets_of(built: block.HostBlock) -> dict[int, tuple[list[int], bool]]:
    """(pieces to write, whether they stand in the text) of every example of a block."""
    batch, found = built.batch, {}
    for row, place in np.ndindex(batch.example_ids.shape):
        mine = batch.target_segment_ids[row] == place + 1
        assert batch.target_positions[row, mine].tolist() == list(range(mine.sum()))
        example, pieces = int(batch.example_ids[row, place]), batch.target_ids[row, mine].tolist()
        found[example] = (pieces, bool(batch.target_shown[row, place]))
    assert not batch.target_ids[batch.target_segment_ids == 0].any()
    return found


def build(recipes, tokenizer, transcripts=None, regime="text_video", **changes) -> block.HostBlock:
    source = block.Source(recipes.split("train"), regime, 1.0, transcripts=transcripts)
    settings = blocks.settings(block_size=6, **{"target_length": 48, **changes})
    return block.BlockBuilder([source], tokenizer, settings).build(0)


@pytest.mark.parametrize("packed", [1, 3])
def test_captions_are_to_be_written_as_they_are_whatever_is_hidden(recipes, tokenizer, packed):
    lengths = {
        "text_length": 48 * packed,
        "video_length": 40 * packed,
        "target_length": 48 * packed,
    }
    masking = dataclasses.replace(blocks.MASKING, text_rate=0.5, text_examples=0.5)
    built = build(recipes, tokenizer, examples=packed, masking=masking, **lengths)
    read, shown = blocks.examples_of(built), 0
    for example, (pieces, told) in targets_of(built).items():
        caption = tokenizer.encode([examples(recipes)[example][3]])[0]
        assert pieces == ([*caption, tokenizer.sep_id] if caption else [])
        whole = read[example]["seen"] == read[example]["ids"]
        assert told == (bool(caption) and not hides(built, example))
        shown += whole and bool(caption)
    assert 0 < shown < 5


def hides(built: block.HostBlock, example: int) -> bool:
    """Whether some piece of the example's text is to be told."""
    (row, place), *_ = np.argwhere(built.batch.example_ids == example)
    slots = built.batch.text_slots[row][built.batch.text_slot_weights[row] > 0]
    return bool((built.batch.text_segment_ids[row, slots] == place + 1).any())


@pytest.mark.parametrize("regime", ["text_video", "text_only"])
def test_transcripts_are_read_and_captions_written(recipes, tokenizer, regime):
    narration = recipes.split("narration")
    built = build(recipes, tokenizer, narration, regime, masking=blocks.NO_MASKING)
    targets = targets_of(built)
    for example, read in blocks.examples_of(built).items():
        name, begin, end, caption = examples(recipes)[example]
        said = expected_speech(name, begin, end)
        pieces, caption_pieces = tokenizer.encode([said, caption])
        assert read["ids"][1:-1] == pieces
        assert read["caption"] == index.caption_hash(said)
        assert read["pair"] == float(bool(said) and regime == "text_video")
        ended = [*caption_pieces, tokenizer.sep_id] if caption_pieces else []
        assert targets[example] == (ended, False)
    off = build(recipes, tokenizer, narration, regime, target_length=0)
    assert off.batch.target_ids.size == off.batch.target_shown.size == 0
    assert sorted(blocks.examples_of(off)) == list(range(6))


def test_what_does_not_fit_is_cut_and_does_not_end(recipes, tokenizer):
    built = build(recipes, tokenizer, target_length=4)
    wanted = cut = 0
    for example, (pieces, _) in targets_of(built).items():
        caption = tokenizer.encode([examples(recipes)[example][3]])[0]
        whole = [*caption, tokenizer.sep_id] if caption else []
        assert pieces == whole[:4]
        wanted, cut = wanted + len(whole), cut + len(whole) - len(pieces)
    assert 0 < cut == built.cut_targets < wanted and built.cut_pieces == 0


def test_a_damaged_example_has_nothing_to_write(recipes, tokenizer, tmp_path, contract):
    out = writer.DatasetWriter(tmp_path / "damaged", "damaged", contract)
    for number in range(2):
        features = np.full((3, drawn.DIM), np.nan if number else 1.0, np.float16)
        out.add_video("train", str(number), features, [writer.Segment(0, 4, "stir")])
    source = (out.finish().split("train"), "text_video", 1.0)
    settings = blocks.settings(block_size=2, examples=2, text_length=96, target_length=96)
    built = block.BlockBuilder([source], tokenizer, settings).build(0)
    found = targets_of(built)
    assert found[0][0][-1] == tokenizer.sep_id and found[1][0] == []


def test_evaluation_has_targets_where_they_are_asked_for(recipes, tokenizer):
    settings = blocks.settings(block_size=4, masking=blocks.NO_MASKING, target_length=48)
    builder = block.EvaluationBuilder(recipes.split("train"), tokenizer, settings)
    found = {k: v for b in range(2) for k, v in targets_of(builder.build(b)).items() if k >= 0}
    assert [bool(found[i][0]) for i in range(6)] == [bool(e[3]) for e in examples(recipes)]
    assert found[0][1]  # nothing is hidden
