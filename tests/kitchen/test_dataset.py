"""The prepared corpus: its splits, its labels, and what a linear probe reads from the features."""

import pathlib
import shutil

import numpy as np
import pytest

from videobert_jax import schema
from videobert_jax.data import index, verify, writer
from videobert_jax.kitchen import assets, captions, dataset, palette, question_dataset
from videobert_jax.tasks import caption_labels


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return dataset.prepare(tmp_path_factory.mktemp("kitchen") / "kitchen")


TESTS = ("test", "test_unseen_backgrounds", "test_unseen_pairs")


def test_the_corpus_datasets_are_known_by_name():
    assert {dataset.NAME, captions.NAME, question_dataset.NAME} == set(schema.EMBEDDED)


def test_no_video_is_in_two_splits(prepared):
    videos = {name: set(split.videos) for name, split in prepared.splits.items()}
    assert videos["train"] == videos["train_steps"] and videos["test"] == videos["test_frozen"]
    apart = ["train", "validation", *TESTS]
    rendered = set.union(*(videos[name] for name in apart))
    assert sum(len(videos[name]) for name in apart) == len(rendered)
    assert rendered == {video.name for video in assets.load().videos}
    assert not videos["transcripts"] & rendered


def test_annotations_tell_of_the_same_steps(prepared):
    for name in ("train_steps", "validation", *TESTS):
        split, found = prepared.splits[name], prepared.annotations(name)
        assert [entry["video"] for entry in found] == split.videos
        told = [step["sentence"] for entry in found for step in entry["steps"]]
        assert told == split.texts(range(len(split)))
        assert all(entry["questions"] for entry in found)


def test_a_split_without_annotations_is_named(prepared):
    with pytest.raises(index.DatasetError, match=r"'transcripts' has no annotations.*choose"):
        prepared.annotations("transcripts")


def test_annotations_of_some_videos_of_a_split_are_refused(prepared, tmp_path):
    out = writer.DatasetWriter(tmp_path / "some", "some", prepared.contract)
    segment = writer.Segment(0.0, 1.0, "stir the sauce")
    out.add_video("test", "video 0", None, [segment], annotation={"video": "video 0"})
    out.add_video("test", "video 1", None, [segment])
    with pytest.raises(index.DatasetError, match="test has 2 videos and annotations of 1"):
        out.finish()


def test_annotations_may_hold_other_separators_of_lines_in_their_texts(prepared, tmp_path):
    out = writer.DatasetWriter(tmp_path / "lines", "lines", prepared.contract)
    told = [{"video": f"video {n}", "said": "one\u2028text\u0085of three lines"} for n in range(2)]
    for entry in told:
        segment = writer.Segment(0.0, 1.0, "stir the sauce")
        out.add_video("test", entry["video"], None, [segment], annotation=entry)
    assert out.finish().annotations("test") == told


def test_a_damaged_annotation_is_found(prepared, tmp_path):
    copy = shutil.copytree(prepared.path, tmp_path / "copy")
    file = copy / "annotations" / "test.jsonl"
    file.write_bytes(file.read_bytes().replace(b"carrot", b"carrox", 1))
    problems = verify.verify_dataset(copy).problems
    assert [pathlib.Path(problem.file).name for problem in problems] == ["test.jsonl"]


def test_the_words_of_the_test_videos_are_in_no_training_split(prepared):
    shipped = [video for video in assets.load().videos if video.split == "test"]
    held_out = {cue.text for video in shipped for cue in video.cues if cue.step >= 0}
    # Templates give short sentences twice by chance; whole videos' words must not reappear.
    for name in ("train", "transcripts"):
        split = prepared.splits[name]
        assert len(held_out & set(split.texts(range(len(split))))) < 0.3 * len(held_out)


def test_steps_carry_labels_and_clips(prepared):
    for name in ("train_steps", "validation", "test_frozen", *TESTS):
        split = prepared.splits[name]
        assert set(split.labels) == {"verb", "object", "container"}
        assert set(split.labels["verb"].names) <= set(palette.VERBS)
        assert all((labels.ids >= 0).all() for labels in split.labels.values())
        assert (split.clip_count >= 1).all() and (split.clip_count <= 4).all()
        assert (split.caption_hash != 0).all()


def test_training_examples_are_the_transcripts_lines(prepared):
    split = prepared.splits["train"]
    cues = [cue for v in assets.load().videos if v.split == "train" for cue in v.cues]
    assert split.texts(range(len(split))) == [cue.text for cue in cues]
    assert "verb" not in split.labels
    assert (prepared.splits["transcripts"].clip_count == 0).all()


def test_captions_in_one_form_stand_beside_the_same_clips_and_labels(prepared, tmp_path):
    told = captions.prepare(tmp_path / "captions")
    exact = {name: "train_steps" if name == "train" else name for name in told.splits}
    assert set(exact) == {"train", "validation", *TESTS}
    for name, of_corpus in exact.items():
        split, other = told.splits[name], prepared.splits[of_corpus]
        assert split.videos == other.videos
        for kind, labels in split.labels.items():
            assert labels.names == other.labels[kind].names
            assert np.array_equal(labels.ids, other.labels[kind].ids)
        for column in ("start", "end", "first_clip", "clip_count"):
            assert np.array_equal(getattr(split, column), getattr(other, column))
        steps = [s for entry in prepared.annotations(of_corpus) for s in entry["steps"]]
        assert split.texts(range(len(split))) == [step["caption"] for step in steps]
        of_captions = caption_labels.exact(
            told, split, np.arange(len(split)), split.texts(range(len(split)))
        )
        assert all(all(of.values()) and len(of) == 4 for of in of_captions)
    assert told.metadata["label_surface_forms"] == prepared.metadata["label_surface_forms"]


def test_metadata_names_every_label(prepared):
    forms = prepared.metadata["label_surface_forms"]
    assert set(forms["verb"]) == set(palette.VERBS)
    assert set(forms["object"]) == set(palette.OBJECTS)
    assert set(forms["container"]) == set(palette.CONTAINERS)
    assert prepared.metadata["templates"] == [
        "now let me show you how to [MASK] the [MASK]",
        "now [MASK] the [MASK] in the {container}",
    ]


def ridge_accuracy(features, labels, train, strength=1000.0) -> float:
    """Top-1 outside `train` of ridge regression to one-hot labels, by its dual form."""
    centred = features - features[train].mean(0)
    centred /= features[train].std(0) + 1e-3
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)
    kernel = centred[train] @ centred[train].T
    weights = np.linalg.solve(
        kernel + strength * np.eye(len(kernel)), targets[train] - targets[train].mean(0)
    )
    scores = centred[~train] @ centred[train].T @ weights + targets[train].mean(0)
    return float((np.unique(labels)[scores.argmax(1)] == labels[~train]).mean())


def test_features_carry_verbs_and_objects(prepared):
    shipped = {video.name: video for video in assets.load().videos}
    features, rows = [], []
    for name in ("train_steps", "test"):
        split = prepared.splits[name]
        names = {kind: split.labels[kind].names for kind in ("verb", "object")}
        for i in range(len(split)):
            first, count = int(split.first_clip[i]), int(split.clip_count[i])
            clips = shipped[split.videos[split.video[i]]].features[first : first + count]
            features.append(clips.astype(np.float64).mean(0))
            rows.append([name] + [names[k][split.labels[k].ids[i]] for k in ("verb", "object")])
    table = np.array(rows)
    train = table[:, 0] == "train_steps"
    assert ridge_accuracy(np.array(features), table[:, 1], train) >= 0.8
    assert ridge_accuracy(np.array(features), table[:, 2], train) >= 0.7
