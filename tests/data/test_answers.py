"""Answers as numbers, in lists and in blocks, beside counts and lookups an example at a time."""

import collections

import numpy as np
import pytest

from tests.data import blocks, drawn
from videobert_jax import schema
from videobert_jax.data import answers, block, index, writer

VIDEOS = 5
GIVEN = ("yes", "two", "yes", None, "no", "a pan", "a pan")


def asked(video: int) -> list[writer.Segment]:
    """Questions of a video; one without an answer, and one answer without a question."""
    return [
        writer.Segment(0.0, 1.6, f"is it {number}", {"answer": of} if of else {})
        for number, of in enumerate(GIVEN[video % 2 : video + 3])
    ] + [writer.Segment(0.0, 3.2, "", {"answer": "yes"})]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, contract) -> index.Dataset:
    path = tmp_path_factory.mktemp("datasets") / "asked"
    out = writer.DatasetWriter(path, "asked", contract)
    draws = np.random.default_rng(0)
    for video in range(VIDEOS):
        features = draws.standard_normal((4, drawn.DIM)).astype(np.float16)
        if video == 3:
            features[0] = np.nan
        out.add_video("train", f"v{video}", features, asked(video), damaged="keep")
    out.add_video("narration", "v0", None, [writer.Segment(0.0, 4.0, "now we cut")])
    more = writer.Segment(0.0, 4.0, "in what", {"answer": "a bowl"})
    out.add_video("more", "v9", None, [more] * 3)
    return out.finish()


def expected_list() -> list[str]:
    """By a plain count: most frequent first, then by the alphabet."""
    given = [s.labels.get("answer") for video in range(VIDEOS) for s in asked(video)]
    counts = collections.Counter(answer for answer in given if answer)
    return sorted(counts, key=lambda answer: (-counts[answer], answer))


def test_the_list_has_the_most_frequent_answers(dataset):
    train, narration, more = map(dataset.split, ("train", "narration", "more"))
    expected = expected_list()
    assert expected == ["yes", "two", "a pan", "no"]
    for size in (1, 2, 4, 9):
        assert answers.most_frequent([train, narration], size) == tuple(expected[:size])
    assert answers.most_frequent([narration], 4) == ()
    # the last three are as frequent: by the alphabet, wherever they come from
    expected = ("yes", "two", "a bowl", "a pan", "no")
    assert answers.most_frequent([train, more], 5) == expected


@pytest.mark.parametrize("examples", [1, 2])
def test_examples_of_a_block_have_the_numbers_of_their_answers(dataset, examples):
    split, told = dataset.split("train"), expected_list()[:2]
    tokenizer = blocks.make_tokenizer(dataset)
    segments = [segment for video in range(VIDEOS) for segment in asked(video)]
    videos = [video for video in range(VIDEOS) for _ in asked(video)]
    size = -(-len(segments) // 2) * 2
    settings = blocks.settings(
        block_size=size,
        examples=examples,
        text_length=48 * examples,
        video_length=40 * examples,
        answered=examples,
        max_damaged_fraction=1.0,
    )

    def built(transcripts=None):
        source = block.Source(split, "text_video", 1.0, transcripts=transcripts)
        builder = block.BlockBuilder([source], tokenizer, settings, None, (), told)
        return builder.build(0).batch

    batch, seen = built(), collections.Counter()
    for place in np.ndindex(batch.example_ids.shape):
        number, answer = int(batch.example_ids[place]), int(batch.answers[place])
        if number == schema.PADDING_EXAMPLE:
            assert answer == schema.NO_ANSWER
            continue
        segment = segments[number]
        name = segment.labels.get("answer")
        is_asked = bool(segment.text) and videos[number] != 3  # whose clips are damaged
        expected = told.index(name) if is_asked and name in told else schema.NO_ANSWER
        assert answer == expected
        seen[answer] += 1
    assert min(seen[0], seen[1], seen[schema.NO_ANSWER]) > 1
    # what was said is no question
    assert (built(dataset.split("narration")).answers == schema.NO_ANSWER).all()
    with pytest.raises(ValueError, match="answers of . examples, and 0 answers to tell; give both"):
        block.BlockBuilder([(split, "text_video", 1.0)], tokenizer, settings)
