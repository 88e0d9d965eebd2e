"""Steps in whole videos: every figure against one video, one second and one placement at a time."""

import itertools
import math

import numpy as np
import pytest

from tests.tasks import conftest
from tests.tasks.made_tasks import CONTRACT, STEPS, STRIDE, context_of, write_tasks
from videobert_jax.data import writer
from videobert_jax.tasks import procedures, report, step_localization, whole_videos
from videobert_jax.tasks.context import PredictionContext
from videobert_jax.tasks.encoding import ROWS
from videobert_jax.tasks.errors import UnfitSplit
from videobert_jax.tasks.step_localization import Settings


def brute_force(scores):
    """Found by trying every placement in order."""
    every = itertools.combinations(range(len(scores)), scores.shape[1])
    return max(every, key=lambda at: sum(scores[t, k] for k, t in enumerate(at)))


@pytest.mark.parametrize("videos", [1, 3, 2 * ROWS // 7])
def test_recall_is_that_of_every_video_by_itself(bundle, tmp_path, videos):
    dataset = write_tasks(tmp_path / "made", videos)
    context = context_of(bundle, dataset)
    split, runner = context.split, context.runner
    result = step_localization.evaluate(context, Settings(1, None))
    texts = {
        step: runner.text_embeddings(runner.sentences([form]))[0]
        for step, (form, *_) in STEPS.items()
    }
    shown, found = {}, {}
    for video in range(videos):
        rows = np.flatnonzero(split.video == video)
        names = [split.labels["step"].names[i] for i in split.labels["step"].ids[rows]]
        task = split.labels["task"].names[split.labels["task"].ids[rows[0]]]
        steps, count = dataset.metadata["task_steps"][task], int(split.num_clips[video])
        (clips,) = whole_videos.read(split, [video], 1)
        seconds = math.ceil(max((count - 1) * STRIDE + 1.0, split.end[rows].max()))
        scores = np.zeros((seconds, len(steps)))
        for second in range(seconds):
            centres = np.arange(count) * STRIDE + 0.5
            clip = int(np.argmin(np.abs(centres - (second + 0.5))))
            run = clips.features[max(clip - 1, 0) : clip + 2]
            one = np.zeros((1, 3, conftest.DIM), np.float16)
            one[0, : len(run)] = run
            embedded = runner.video_embeddings(one, np.arange(3)[None] < len(run))[0]
            scores[second] = [embedded @ texts[step] for step in steps]
        at = brute_force(scores)
        for step, name in enumerate(steps):
            spans = [
                (math.floor(split.start[r]), math.ceil(split.end[r]))
                for r, of in zip(rows, names, strict=True)
                if of == name
            ]
            if spans:
                shown[task] = shown.get(task, 0) + 1
                found[task] = found.get(task, 0) + any(a <= at[step] < b for a, b in spans)
    recalls = {task: found[task] / shown[task] for task in shown}
    assert result.details["recall_of_tasks"] == pytest.approx(recalls)
    assert result.metrics["average_recall"] == pytest.approx(np.mean(list(recalls.values())))
    assert 0 < result.metrics["average_recall"] < 1 or videos == 1
    record = report.record(context, result)  # the lines give the figure too
    assert record["protocol"].startswith("made_up. ") and record["num_videos"] == videos
    assert len(record["baselines"]) == 3 and len(result.examples) == sum(shown.values())


def test_a_video_of_its_own_is_looked_for_among_others(context):
    result = step_localization.evaluate(context, Settings(0, None))
    assert result.details["num_tasks"] == 6 and result.details["num_seconds"] > 5 * 6 * 10
    assert "row of 5 videos" in result.protocol and len(result.examples) == 30
    alone = step_localization.evaluate(context, Settings(0, 0))
    assert alone.details["num_seconds"] < result.details["num_seconds"] / 4
    # steps of two or three seconds each, from the first to the last: equal distances find most
    assert alone.baselines["evenly_spread"]["average_recall"] > 0.8
    for name in ("evenly_spread", "chance"):
        of_row, of_video = (r.baselines[name]["average_recall"] for r in (result, alone))
        assert of_row < of_video / 2
    assert alone.baselines["supervised_ridge"]["average_recall"] > 0.8
    assert result.baselines["supervised_ridge"]["average_recall"] > 0.35  # as often at its place
    again = step_localization.evaluate(context, Settings(0, None))
    assert again.metrics == result.metrics and again.examples == result.examples


def test_scores_of_another_system_are_measured_alike(context):
    """The network's own, given as if they were another's."""
    runner = context.runner

    def scorer_of(texts):
        embedded = runner.text_embeddings(runner.sentences(texts))

        def prepare(clips):
            scores = whole_videos.embed(runner, clips, 0) @ embedded.T
            return lambda chosen, steps: scores[chosen][:, steps]

        return prepare

    other = PredictionContext({}, context.dataset, context.split, context.seed)
    found = step_localization.evaluate_scores(other, scorer_of, other_videos=None, parallel_reads=1)
    own = step_localization.evaluate(context, Settings(0, None))
    assert found.metrics == own.metrics and found.protocol == own.protocol
    assert [line["second"] for line in found.examples] == [line["second"] for line in own.examples]
    assert set(found.baselines) == {"chance", "evenly_spread", "shuffled_clips"}
    assert all(found.baselines[name] == own.baselines[name] for name in found.baselines)


def test_absent_videos_are_misses_of_all(bundle, tmp_path):
    dataset = write_tasks(tmp_path / "made", 6, absent=(1, 3))
    result = step_localization.evaluate(context_of(bundle, dataset), Settings(0, None))
    shown = {"tea": 2 * 2, "soup": 2 * 2}
    found = {task: of * shown[task] for task, of in result.details["recall_of_tasks"].items()}
    expected = np.mean([found["tea"] / (4 * 2), found["soup"] / 4])
    assert result.metrics["average_recall_of_all"] == pytest.approx(expected)
    assert result.details["num_absent_videos"] == 2 and result.details["num_videos"] == 4


def test_runs_of_clips_end_where_their_video_does(dataset):
    split = dataset.split("test")
    (clips,) = whole_videos.read(split, [0, 3, 4], 1)
    at, shown = clips.runs(2)
    means = clips.means(2)
    for row in range(len(clips.features)):
        video = int(np.searchsorted(clips.starts, row, side="right")) - 1
        low, high = clips.starts[video : video + 2]
        expected = list(range(max(row - 2, low), min(row + 3, high)))
        assert at[row][shown[row]].tolist() == expected
        mean = clips.features[expected].astype(np.float32).mean(axis=0)
        np.testing.assert_allclose(means[row], mean, atol=1e-5)


def test_what_cannot_be_localised_is_named(bundle, tmp_path):
    def evaluate(neighbours=0, others=None, limit=None, videos=2, **change):
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        return step_localization.evaluate(
            context_of(bundle, write_tasks(path, videos, **change), limit=limit),
            Settings(neighbours, others),
        )

    with pytest.raises(ValueError, match=r"no description in task tea: tea_2"):
        evaluate(forms={step: STEPS[step] for step in ("tea_1", "tea_3")})
    with pytest.raises(ValueError, match=r"steps of it \(\['tea_1'\]\)"):
        evaluate(task_steps={"tea": ["tea_1"]})
    with pytest.raises(ValueError, match="expected one task that is declared"):
        evaluate(task_steps={"cake": ["tea_1"]})
    with pytest.raises(ValueError, match="no video of split 'primary'.*raise --limit"):
        evaluate(limit=2)
    assert evaluate(limit=3).details["num_videos"] == 1
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match="2 videos have 1 others at most"):
            evaluate(others=wrong)
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match=rf"{wrong} neighbours .* of 8 clips at most; say .*3"):
            evaluate(neighbours=wrong)
    for kind in ("task", "step"):
        with pytest.raises(ValueError, match=f"video p1 has .* without a label of kind '{kind}'"):
            evaluate(unlabelled=(1, kind))
    with pytest.raises(ValueError, match="has no clips in time"):
        evaluate(absent=(0, 1))
    damaged = conftest.write_dataset(tmp_path / "damaged", damaged=True)
    with pytest.raises(ValueError, match=r"1 videos .* damaged .*test_2"):
        step_localization.evaluate(context_of(bundle, damaged, "test"), Settings(0, None))


def test_videos_whose_steps_cannot_be_put_are_left_out(bundle, tmp_path):
    out = writer.DatasetWriter(tmp_path / "made", "made", CONTRACT)
    features = np.zeros((4, conftest.DIM), np.float16)
    of_videos = {
        "full": [(0.0, 2.0, "a"), (2.0, 4.0, "b")],
        "bare": [(0.0, 2.0, "")],
        "instant": [(0.0, 2.0, "a"), (2.0, 2.0, "b")],
        "crowded": [(0.1 * n, 0.1 * n + 0.5, f"step {n}") for n in range(9)],  # of six seconds
    }
    for split in ("test", "none"):
        for video, rows in of_videos.items():
            if split == "test" or video != "full":
                out.add_video(
                    split, f"{split} {video}", features, [writer.Segment(*r) for r in rows]
                )
    dataset = out.finish()
    context = context_of(bundle, dataset, "test")
    result = step_localization.evaluate(context, Settings(0, None))
    assert result.details["num_videos"] == 1 and result.details["num_left_out"] == 3
    assert {line["video"] for line in result.examples} == {"test full"}
    (note,) = [note for note in result.notes if "left out" in note]
    assert note.endswith("the first are test bare, test instant, test crowded")
    with pytest.raises(UnfitSplit, match="none of the 3 videos of split 'none'"):
        step_localization.evaluate(context_of(bundle, dataset, "none"), Settings(0, None))


def test_captions_of_whole_videos_are_no_steps_and_tell_no_time(tmp_path):
    out = writer.DatasetWriter(tmp_path / "made", "made", CONTRACT)
    features = np.zeros((4, conftest.DIM), np.float16)
    for video in ("a", "b"):
        whole = [writer.Segment(0.0, 3600.0, f"{video} {n}") for n in range(3)]
        out.add_video("test", video, features, whole)
        later = writer.Segment(4.0, 20.0, "later")  # a little behind the clips
        out.add_video("train", f"train {video}", features, [*whole, later])
    dataset = out.finish()
    assert "one after another" in step_localization.unfit(dataset.split("test"))
    assert step_localization.unfit(dataset.split("train")) is None
    seconds = [whole_videos.num_seconds(dataset.split(name), 1) for name in ("test", "train")]
    assert seconds == [math.ceil(3 * STRIDE + 1.0), 20]


def test_examples_of_one_label_are_one_step(tmp_path):
    dataset = write_tasks(tmp_path / "made", 3, task_steps=None)
    dataset.metadata.pop("task_steps")
    split = dataset.split("primary")
    first, _, third = procedures.of_videos(dataset, split, np.arange(3))
    assert first.task == "p0" and first.texts == ("tea_2.", "tea_1.")
    assert [step for step, *_ in first.segments] == [0, 1, 0] and first.examples == (0, 1)
    assert third.texts == ("tea_1.", "tea_3.") and third.num_shown == 2
