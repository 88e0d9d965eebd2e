"""Labels of whole videos: every figure against one video and one second at a time."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.made_tasks import STEPS, STRIDE, context_of, write_tasks
from videobert_jax.data import clip_labels
from videobert_jax.models.videobert import VideoBert
from videobert_jax.tasks import action_segmentation, report, whole_videos
from videobert_jax.tasks.action_segmentation import Settings
from videobert_jax.tasks.encoding import ROWS
from videobert_jax.tasks.errors import UnfitSplit
from videobert_jax.tasks.metrics import segmentation

BACKGROUND = len(STEPS)


def true_at(split, video, time) -> int:
    found = BACKGROUND
    rows = np.flatnonzero(split.video == video)
    for row in rows[np.argsort(split.start[rows], kind="stable")]:
        if split.start[row] <= time < split.end[row]:
            found = list(STEPS).index(split.labels["step"].names[split.labels["step"].ids[row]])
    return found


def clip_cosines(runner, split, video) -> np.ndarray:
    """Of each clip with one neighbour on either side and each step, one at a time."""
    (clips,) = whole_videos.read(split, [video], 1)
    texts = runner.text_embeddings(runner.sentences([form for form, *_ in STEPS.values()]))
    rows = []
    for clip in range(len(clips.features)):
        run = clips.features[max(clip - 1, 0) : clip + 2]
        one = np.zeros((1, 3, run.shape[1]), np.float16)
        one[0, : len(run)] = run
        shown = np.arange(3)[None] < len(run)
        rows.append(texts @ runner.video_embeddings(one, shown)[0])
    return np.array(rows)


@pytest.mark.parametrize("videos", [1, 3, 2 * ROWS // 7])
def test_accuracy_is_that_of_every_second_by_itself(bundle, tmp_path, videos):
    dataset = write_tasks(tmp_path / "made", videos, training=5)
    context = context_of(bundle, dataset)
    split, train, runner = context.split, dataset.split("train"), context.runner
    result = action_segmentation.evaluate(context, Settings(None, None, None, None, 1))
    # the threshold: of all there could be, none tells more clips of the training split
    scores, true = [], []
    for video in range(5):
        scores.append(clip_cosines(runner, train, video))
        centres = np.arange(len(scores[-1])) * STRIDE + 0.5
        true += [true_at(train, video, centre) for centre in centres]
    scores, true = np.concatenate(scores), np.array(true)
    told = [
        np.where(scores.max(1) < threshold, BACKGROUND, scores.argmax(1))
        for threshold in (-1.0, *np.sort(scores.max(1)), 1.0)
    ]
    most = max((answer == true).sum() for answer in told)
    threshold = result.details["background_threshold"]
    ours = np.where(scores.max(1) < threshold, BACKGROUND, scores.argmax(1))
    assert (ours == true).sum() == most
    right = seconds = step_right = step_seconds = 0
    for video in range(videos):
        cosines, count = clip_cosines(runner, split, video), int(split.num_clips[video])
        end = max((count - 1) * STRIDE + 1.0, split.end[split.video == video].max())
        for second in range(math.ceil(end)):
            clip = int(np.argmin(np.abs(np.arange(count) * STRIDE + 0.5 - (second + 0.5))))
            of = cosines[clip]
            answer = BACKGROUND if of.max() < threshold else int(of.argmax())
            expected = true_at(split, video, second + 0.5)
            right += answer == expected
            seconds += 1
            if expected != BACKGROUND:
                step_right += answer == expected
                step_seconds += 1
    assert 0 < step_seconds < seconds
    assert result.metrics == pytest.approx(
        {"frame_accuracy": right / seconds, "frame_accuracy_of_steps": step_right / step_seconds},
        abs=1e-12,
    )
    background = {"frame_accuracy": 1 - step_seconds / seconds, "frame_accuracy_of_steps": 0.0}
    assert result.baselines["all_background"] == pytest.approx(background)
    assert list(result.baselines["chance"].values()) == pytest.approx([1 / 4] * 2)
    assert "supervised_ridge" in result.baselines
    record = report.record(context, result)  # the lines give the figures too
    assert len(result.examples) == videos and record["templates"] == ["{step}"]


def test_a_linear_model_tells_labelled_clips(context):
    result = action_segmentation.evaluate(context, Settings(None, "object", "{object}", None, 0))
    assert result.baselines["supervised_ridge"]["frame_accuracy"] > 0.9
    assert result.baselines["shuffled_clips"]["frame_accuracy"] < 0.6
    assert result.details["share_of_background"] == 0.0
    # sentences with every filling of the other slot, and no threshold to choose
    by_pairs = action_segmentation.evaluate(context, Settings(None, None, None, -1.0, 0))
    assert by_pairs.templates == ["now let me show you how to {verb} the {object}"]
    assert by_pairs.details["background_threshold"] == -1.0
    assert "below -1 (given)" in by_pairs.details["answered_by"]


def with_head(bundle, names=("tea_3", "tea_1")):
    """A network that tells labels of clips, by a head drawn at random; in runs of 6 clips."""
    config = dataclasses.replace(bundle.config, clip_labels=len(names))
    random = np.random.default_rng(0)
    head = {
        "kernel": random.normal(size=(config.embed_dim, config.padded_clip_labels)),
        "bias": random.normal(size=config.padded_clip_labels) / 3,
    }
    head = {name: values.astype(np.float32) for name, values in head.items()}
    params = {**bundle.variables["params"], "clip_label_head": head}
    data = dataclasses.replace(bundle.data, clip_labels="step", video_length=6)
    variables = {**bundle.variables, "params": params}
    return dataclasses.replace(
        bundle, config=config, data=data, variables=variables, clip_labels=names
    )


def test_a_head_tells_every_clip_in_the_middle_of_a_window(bundle, tmp_path):
    dataset = write_tasks(tmp_path / "made", 5, training=3)
    context = context_of(with_head(bundle), dataset)
    split, length = context.split, 6
    result = action_segmentation.evaluate(context, Settings(None, None, None, None, 0))
    model = VideoBert(dataclasses.replace(context.bundle.config, attention="dense"))

    variables = jax.tree.map(jnp.asarray, context.bundle.variables)

    @jax.jit
    def logits_of(features, hidden):
        def told(network):
            one = jnp.ones(features.shape[:2], jnp.int32)
            places = jnp.arange(features.shape[1])[None]
            video = network.encode_video(features, one, places, one * hidden > 0)
            return network.clip_label_logits(video)

        return model.apply(variables, method=told)

    places = [list(STEPS).index(name) for name in context.bundle.clip_labels]
    right = {"": 0, "video_withheld": 0}
    seconds = 0
    for video in range(5):
        (clips,) = whole_videos.read(split, [video], 1)
        count, answers = len(clips.features), {}
        assert count >= length
        for name, hidden in (("", 0), ("video_withheld", 1)):
            answers[name] = []
            for clip in range(count):
                first = min(max(clip - length // 2, 0), count - length)  # one apart: 6 // 4
                window = clips.features[None, first : first + length]
                label = int(logits_of(window, hidden)[0, clip - first].argmax())
                answers[name].append([*places, BACKGROUND][label])
        end = max((count - 1) * STRIDE + 1.0, split.end[split.video == video].max())
        for second in range(math.ceil(end)):
            clip = int(np.argmin(np.abs(np.arange(count) * STRIDE + 0.5 - (second + 0.5))))
            for name in right:
                right[name] += answers[name][clip] == true_at(split, video, second + 0.5)
            seconds += 1
    assert result.metrics["frame_accuracy"] == pytest.approx(right[""] / seconds)
    withheld = result.baselines["video_withheld"]["frame_accuracy"]
    assert withheld == pytest.approx(right["video_withheld"] / seconds) != right[""] / seconds
    assert "in windows of 6 clips" in result.details["answered_by"] and not result.templates
    assert "1 of the labels are none that the head tells" in result.notes
    assert report.record(context, result)["scoring"] == "head"
    by_sentences = Settings("joint_space", None, None, 0.0, 0)
    assert action_segmentation.evaluate(context, by_sentences).templates == ["{step}"]
    with pytest.raises(ValueError, match="tells labels of kind 'step', not 'task'"):
        action_segmentation.evaluate(context, Settings(None, "task", None, None, 0))


def test_labels_of_clips_and_of_times_are_one(tmp_path):
    dataset = write_tasks(tmp_path / "made", 7, longer=3.0)
    split = dataset.split("primary")
    numbers = split.labels["step"].ids.astype(np.int64)
    numbers[::5] = -1  # an example without a label says nothing
    of_clips, starts = clip_labels.of_clips(split, numbers), clip_labels.starts(split)
    assert 0 < (of_clips == -1).mean() < 1
    for video in range(7):
        centres = np.arange(split.num_clips[video]) * STRIDE + 0.5
        expected = clip_labels.at_times(split, numbers, video, centres)
        assert of_clips[starts[video] : starts[video + 1]].tolist() == expected.tolist()
        for time, found in zip(centres, expected, strict=True):
            rows = np.flatnonzero((split.video == video) & (numbers >= 0))
            rows = [r for r in rows if split.start[r] <= time < split.end[r]]
            last = max(rows, key=lambda r: split.start[r], default=None)
            assert found == (-1 if last is None else numbers[last])


def test_clips_of_one_score_are_on_one_side_of_a_threshold():
    background = np.array([True, False, True])
    assert segmentation.best_threshold(np.full(3, 0.5), ~background, background) > 0.5


@pytest.mark.parametrize("seed", range(6))
def test_a_threshold_is_best_of_all(seed):
    random = np.random.default_rng(seed)
    scores = random.normal(size=12).round(1)
    background = random.random(12) < 0.4
    right = ~background & (random.random(12) < (seed / 5))
    found = segmentation.best_threshold(scores, right, background)

    def told_right(threshold):
        return np.where(scores < threshold, background, right).sum()

    every = (-np.inf, *(np.unique(scores) + 0.01), np.inf)
    assert told_right(found) == max(map(told_right, every))


def test_what_cannot_be_segmented_is_named(bundle, tmp_path):
    dataset = write_tasks(tmp_path / "made", 2)

    def evaluate(context, scoring=None, kind=None, template=None, threshold=0.0, neighbours=0):
        settings = Settings(scoring, kind, template, threshold, neighbours)
        return action_segmentation.evaluate(context, settings)

    context = context_of(bundle, dataset)
    with pytest.raises(ValueError, match="no labels of kind 'verb'; it has"):
        evaluate(context, kind="verb")
    with pytest.raises(UnfitSplit, match="choose the threshold of background on; say --back"):
        evaluate(context, threshold=None)
    with pytest.raises(ValueError, match="no head that tells labels of clips"):
        evaluate(context, scoring="head")
    with pytest.raises(ValueError, match="segmentation by 'cloze'; expected head, joint_space"):
        evaluate(context, scoring="cloze")
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=f"{wrong} neighbours .* of 8 clips at most"):
            evaluate(context, neighbours=wrong)
    with pytest.raises(ValueError, match="has the slots"):
        evaluate(context, template="how to {cook}")
    with pytest.raises(ValueError, match="template '{verb}' has no {step}"):
        evaluate(context, template="{verb}")
    with pytest.raises(UnfitSplit, match="raise --limit"):
        evaluate(context_of(bundle, dataset, limit=2))
    absent = write_tasks(tmp_path / "absent", 2, absent=(0, 1))
    with pytest.raises(ValueError, match="has no clips in time"):
        evaluate(context_of(bundle, absent))
    alone = evaluate(context)
    assert alone.notes == ["no supervised_ridge: no other split has labels of kind 'step'"]


def test_labels_of_one_training_video_are_no_baseline(bundle, tmp_path):
    settings = Settings(None, None, None, None, 0)
    context = context_of(bundle, write_tasks(tmp_path / "one", 2, training=1))
    result = action_segmentation.evaluate(context, settings)
    assert result.notes == ["no supervised_ridge: one video only has labels of kind 'step'"]
    absent = write_tasks(tmp_path / "absent", 2, training=1, absent_training=True)
    with pytest.raises(UnfitSplit, match="no other split with labels of kind 'step'"):
        action_segmentation.evaluate(context_of(bundle, absent), settings)


def test_sentences_that_were_trained_on_are_not_zero_shot(bundle, tmp_path):
    dataset = write_tasks(tmp_path / "made", 2, training=2)
    settings = Settings(None, None, None, 0.0, 0)
    found = {}
    for split in ("train", "captions"):  # of which the latter has no labels
        entry = {"name": dataset.name, "split": split}
        trained_on = {"datasets": [entry], "video_names": [], "initialized_from": None}
        context = context_of(dataclasses.replace(bundle, trained_on=trained_on), dataset)
        result = action_segmentation.evaluate(context, settings)
        found[split] = report.record(context, result)["setting"]
    assert found == {"train": "from_scratch", "captions": "zero_shot"}


def test_videos_of_background_alone_have_no_accuracy_of_steps():
    nothing = segmentation.Counts(seconds=4, right=3.0, step_seconds=0, step_right=0.0)
    assert set(segmentation.statistics([nothing])) == set(segmentation.summary([nothing]))
    some = segmentation.Counts(seconds=4, right=3.0, step_seconds=2, step_right=1.0)
    assert set(segmentation.statistics([nothing, some])) == {
        "frame_accuracy",
        "frame_accuracy_of_steps",
    }
