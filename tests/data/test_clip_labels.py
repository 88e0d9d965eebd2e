"""Labels of clips in blocks, beside a lookup a clip at a time."""

import dataclasses

import numpy as np
import pytest

from tests.data import blocks, drawn
from videobert_jax import schema
from videobert_jax.data import block, clip_labels, index, writer
from videobert_jax.data.config import AS_WRITTEN

NAMES = ("chop", "stir")
CLIPS = 9


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, contract) -> index.Dataset:
    out = writer.DatasetWriter(tmp_path_factory.mktemp("datasets") / "shown", "shown", contract)
    draws = np.random.default_rng(0)
    stride = contract.stride_seconds
    for video in range(6):
        features = draws.standard_normal((CLIPS, drawn.DIM)).astype(np.float16)
        if video == 4:
            features[5] = np.nan
        ends = np.sort(draws.uniform(0, CLIPS * stride, 6))
        segments = [
            writer.Segment(a, b + stride, f"step {number}", {"step": name} if name else {})
            for number, (name, a, b) in enumerate(
                zip(("chop", None, "stir"), ends[::2], ends[1::2], strict=True)
            )
        ]
        out.add_video("train", f"v{video}", features, segments, damaged="keep")
    out.add_video(
        "narration",
        "v0",
        draws.normal(size=(3, drawn.DIM)).astype(np.float16),
        [writer.Segment(0.0, 3 * stride, "now we cut")] * 8,
    )
    return out.finish()


def test_the_names_are_those_that_examples_have(dataset):
    train, narration = dataset.split("train"), dataset.split("narration")
    assert clip_labels.names([train, narration], "step") == NAMES
    assert clip_labels.names([narration], "step") == clip_labels.names([train], "verb") == ()


def test_a_label_that_is_not_on_the_list_is_not_told_rather_than_none(dataset):
    split = dataset.split("train")
    found = clip_labels.LabelList("step", ("stir",)).of(split)
    assert found is not None
    numbers = np.array(
        [
            -1 if i < 0 else NAMES.index(split.labels["step"].names[i])
            for i in split.labels["step"].ids
        ]
    )
    window = split.contract.frames_per_clip / split.contract.fps
    centres = np.arange(CLIPS) * split.contract.stride_seconds + window / 2
    named = {-1: 1, NAMES.index("stir"): 0, NAMES.index("chop"): schema.NO_LABEL}
    for video in range(len(split.videos)):
        shown = clip_labels.at_times(split, numbers, video, centres).tolist()
        told = found.of(np.full(CLIPS, video), np.arange(CLIPS)).tolist()
        assert told == [named[label] for label in shown]
    assert set(found.labels.tolist()) == {schema.NO_LABEL, 0, 1}


@pytest.mark.parametrize(("examples", "rate"), [(1, 1), (2, 1), (2, 3)])
def test_clips_of_a_block_have_the_labels_of_their_times(dataset, examples, rate):
    split = dataset.split("train")
    settings = blocks.settings(
        block_size=16,
        examples=examples,
        video_length=10 * examples,
        labelled=10 * examples,
        drawing=dataclasses.replace(
            AS_WRITTEN,
            overlapped_examples=0.5,
            overlapped_min_clips=4,
            overlapped_max_clips=10,
            highest_rate=rate,
        ),
        max_damaged_fraction=1.0,
    )
    told = clip_labels.LabelList("step", ("stir", "chop"))
    numbers = np.array(
        [
            -1 if i < 0 else told.names.index(split.labels["step"].names[i])
            for i in split.labels["step"].ids
        ]
    )
    window = split.contract.frames_per_clip / split.contract.fps
    builder = block.BlockBuilder(
        [(split, "video_only", 1.0)], blocks.make_tokenizer(dataset), settings, None, (), (), told
    )
    seen = np.zeros(4, int)
    for k in range(3):
        batch = builder.build(k).batch
        for row, clip in np.ndindex(batch.clip_labels.shape):
            label, segment = batch.clip_labels[row, clip], batch.video_segment_ids[row, clip]
            if segment == schema.NO_SEGMENT:  # padding, and what is damaged
                assert label == schema.NO_LABEL
                continue
            example = segment - 1
            video = int(batch.video_ids[row, example])
            place = batch.clip_indices[row, example]
            place += batch.clip_steps[row, example] * batch.video_positions[row, clip]
            centre = np.array([place * split.contract.stride_seconds + window / 2])
            (expected,) = clip_labels.at_times(split, numbers, video, centre)
            assert label == (2 if expected == -1 else expected)
            seen[label] += 1
    assert seen[:3].min() > 5
    of_others = block.BlockBuilder(
        [(dataset.split("narration"), "video_only", 1.0)],
        blocks.make_tokenizer(dataset),
        settings,
        None,
        (),
        (),
        told,
    )
    assert (of_others.build(0).batch.clip_labels == schema.NO_LABEL).all()
    with pytest.raises(ValueError, match="labels of .* clips, and none to tell; give both"):
        block.BlockBuilder([(split, "video_only", 1.0)], blocks.make_tokenizer(dataset), settings)
