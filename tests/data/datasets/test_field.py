"""Datasets of the field: the real annotations' counts and overlaps, made ones where they are not
at hand, and what becomes of absent and damaged features and of videos that are evaluated on."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from videobert_jax.cli import main
from videobert_jax.data import assembly, importers, index, texts
from videobert_jax.data.datasets import (
    activitynet_captions,
    annotated,
    coin,
    crosstask,
    evaluated_ids,
    hirest,
    msrvtt,
    narration,
    youcook2,
)

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data"
YOUCOOK2 = SHARED / "youcook2" / "youcookii_annotations_trainval.json"
MILNCE = SHARED / "youcook2" / "validation_youcook.csv"
CROSSTASK = SHARED / "crosstask" / "crosstask_segments.json"
VAL_1 = SHARED / "activitynet" / "val_1.json"
SETTINGS = importers.Settings(stride_seconds=1.0, normalised=False)


def real(*files: pathlib.Path) -> None:
    for file in files:
        if not file.is_file():
            pytest.skip(f"{file} is not there")


def segments(corpus, split):
    return sum(len(video.segments) for video in corpus.splits[split])


def test_youcook2s_real_annotation():
    real(YOUCOOK2, MILNCE)
    corpus = youcook2.read(YOUCOOK2, MILNCE)
    videos = {split: len(corpus.splits[split]) for split in corpus.splits}
    assert videos == {"train": 1333, "validation": 457, "retrieval": 436}
    assert segments(corpus, "train") + segments(corpus, "validation") == 13_829
    assert segments(corpus, "validation") == 3492 and segments(corpus, "retrieval") == 3350
    assert corpus.protocols["retrieval"] == "youcook2_milnce_3350"
    first = corpus.splits["train"][0]
    assert first.name == "GLd3aX16zBg" and first.segments[0].text.startswith("spread margarine")
    assert (first.segments[0].start, first.segments[0].end) == (90, 102)


def test_crosstasks_real_annotation():
    real(CROSSTASK)
    content = json.loads(CROSSTASK.read_text())
    steps = sum(len(s) for task in content.values() for s in task["crosstask_annotations"].values())
    assert (len(content), steps) == (18, 20_919)
    corpus = crosstask.read(CROSSTASK)
    assert len(corpus.splits["primary"]) == 2750
    labels = {s.labels["task"] for v in corpus.splits["primary"] for s in v.segments}
    assert len(labels) == 18
    assert segments(corpus, "primary") + len(corpus.failures) == 20_919


def test_the_other_real_annotations():
    hirest_file, csv_file = (
        SHARED / "hirest" / "all_data_val.json",
        SHARED / "msrvtt/msrvtt_test.csv",
    )
    real(VAL_1, hirest_file, csv_file)
    corpus = activitynet_captions.read([VAL_1])
    assert len(corpus.splits["val_1"]) == 4917
    assert corpus.protocols == {"val_1": "activitynet_captions_val1"}
    corpus = hirest.read([hirest_file])
    assert len(corpus.splits["validation"]) == 477
    corpus = msrvtt.read(None, csv_file)
    assert len(corpus.splits["test_1ka"]) == 1000
    assert corpus.protocols == {"test_1ka": "msrvtt_1ka"}


def test_the_real_overlaps_are_found():
    real(YOUCOOK2, CROSSTASK, VAL_1)
    cooking = youcook2.read(YOUCOOK2, None)
    in_youcook2 = cooking.ids("train") | cooking.ids("validation")
    tasks, told = crosstask.read(CROSSTASK).ids("primary"), evaluated_ids.read([VAL_1])
    assert evaluated_ids.read([CROSSTASK]) == tasks
    assert len(tasks & in_youcook2) == 15
    assert len(told & in_youcook2) == 3
    assert len(told & tasks) == 5


def made_youcook2(folder: pathlib.Path) -> pathlib.Path:
    """Four videos of the official form: two of training, two of validation."""
    database = {
        f"video_{number:05d}": {
            "duration": 20.0,
            "subset": "training" if number < 2 else "validation",
            "recipe_type": "113",
            "annotations": [
                {
                    "id": step,
                    "segment": [4 * step, 4 * step + 3],
                    "sentence": f"cut {number} {step}",
                }
                for step in range(3)
            ],
        }
        for number in range(4)
    }
    path = folder / "youcookii.json"
    path.write_text(json.dumps({"database": database}))
    return path


def made_features(folder: pathlib.Path, names, damaged=()) -> pathlib.Path:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in names:
        values = generator.normal(size=(20, 16)).astype(np.float32)
        if name in damaged:
            values[3] = np.nan
        np.save(folder / f"{name}.mp4.npy", values)
    return folder


NAMES = [f"video_{number:05d}" for number in range(4)]


def prepare(tmp_path, features, *options) -> int:
    words = [
        "prepare",
        "youcook2",
        "--annotations",
        made_youcook2(tmp_path),
        "--features",
        features,
    ]
    words += ["--layout", "npy", "--stride", 1.0, "--normalised", "false"]
    words += ["--output", tmp_path / "set", *options]
    return main.main([str(word) for word in words])


def test_annotations_and_features_become_a_dataset(tmp_path, capsys):
    assert prepare(tmp_path, made_features(tmp_path / "f", NAMES)) == 0
    printed = capsys.readouterr().out
    assert "validation: 6 examples, 2 videos, 40 clip features, youcook2_annotation_3492" in printed
    dataset = index.open_dataset(tmp_path / "set")
    split = dataset.split("train")
    assert split.texts([0, 5]) == ["cut 0 0", "cut 1 2"]
    assert split.clip_count.tolist() == [3] * 6 and split.first_clip.tolist() == [0, 4, 8] * 2
    assert dataset.annotations("validation")[1]["steps"][0]["sentence"] == "cut 3 0"
    assert not (tmp_path / "set" / assembly.FAILURES_FILE).exists()


def test_a_finished_dataset_is_not_taken_for_one_of_other_options(tmp_path, capsys):
    features, written = made_features(tmp_path / "f", NAMES), tmp_path / "set" / "dataset.json"
    assert prepare(tmp_path, features) == 0
    digest, before = index.open_dataset(tmp_path / "set").digest, written.read_bytes()
    (tmp_path / "moved").mkdir()
    assert prepare(tmp_path, features.rename(tmp_path / "moved" / "f")) == 0  # by its name
    assert "nothing to do" in capsys.readouterr().out
    listed = tmp_path / "others.txt"
    listed.write_text("video_00001\n")
    assert prepare(tmp_path, tmp_path / "moved" / "f", "--evaluation-ids", listed) == 2
    message = capsys.readouterr().err
    assert "made with --evaluation-ids (not given), asked for is --evaluation-ids oth" in message
    assert written.read_bytes() == before
    shutil.rmtree(tmp_path / "set")
    assert prepare(tmp_path, tmp_path / "moved" / "f", "--allow-missing") == 0
    assert index.open_dataset(tmp_path / "set").digest == digest  # nothing was missing
    assert prepare(tmp_path, tmp_path / "moved" / "f", "--output", tmp_path / "x", "--fold=0") == 2
    assert "youcook2 does not take --fold" in capsys.readouterr().err


def test_absent_features_stop_it_or_are_counted(tmp_path, capsys):
    features = made_features(tmp_path / "f", NAMES[1:3])
    assert prepare(tmp_path, features) == 2
    message = capsys.readouterr().err
    assert "train: 1 of 2 videos (video_00000)" in message and "--allow-missing" in message
    assert not (tmp_path / "set").exists()
    assert prepare(tmp_path, features, "--allow-missing") == 0
    dataset = index.open_dataset(tmp_path / "set")
    assert dataset.split("train").videos == ["video_00001"]  # nothing to learn of the other
    validation = dataset.split("validation")
    assert validation.videos == NAMES[2:] and validation.clip_count.tolist() == [3] * 3 + [0] * 3
    lines = (tmp_path / "set" / assembly.FAILURES_FILE).read_text().splitlines()
    assert {json.loads(line)["video"] for line in lines} == {NAMES[0], NAMES[3]}


def test_a_video_with_damaged_features_is_told_and_the_rest_is_built(tmp_path):
    features = made_features(tmp_path / "f", NAMES, damaged={NAMES[0], NAMES[3]})
    assert prepare(tmp_path, features) == 0
    dataset = index.open_dataset(tmp_path / "set")
    train = dataset.split("train")
    assert train.num_clips.tolist()[0] == 0 and set(train.video.tolist()) == {
        1
    }  # none of the first
    assert dataset.split("validation").clip_count.tolist() == [3] * 3 + [0] * 3
    text = (tmp_path / "set" / assembly.FAILURES_FILE).read_text()
    assert text.count("NaN") == 2 and len(dataset.annotations("train")) == 2


def test_evaluated_videos_are_not_trained_on(tmp_path, capsys):
    features = made_features(tmp_path / "f", NAMES)
    others = tmp_path / "ids.txt"
    others.write_text("https://youtu.be/xxxxxxxxxxx\nvideo_00001.mp4\n")
    assert prepare(tmp_path, features, "--evaluation-ids", others) == 0
    assert "1 videos of evaluation splits are left out: video_00001" in capsys.readouterr().err
    dataset = index.open_dataset(tmp_path / "set")
    assert dataset.split("train").videos == [NAMES[0]]
    assert dataset.metadata["overlap_removed"] == {"train": [NAMES[1]]}
    assert evaluated_ids.read([tmp_path / "set"]) == set(NAMES[2:])
    (tmp_path / "again").mkdir()
    features = made_features(tmp_path / "again" / "f", NAMES)
    options = ("--evaluation-ids", others, "--keep-overlap")
    assert prepare(tmp_path / "again", features, *options) == 0
    dataset = index.open_dataset(tmp_path / "again" / "set")
    assert dataset.split("train").videos == NAMES[:2] and dataset.metadata["overlap_kept"]


def test_a_video_of_two_splits_stays_in_the_evaluated_one():
    def video(name):
        return annotated.AnnotatedVideo(name, ())

    corpus = annotated.Corpus("x", "", {"train": [video("a"), video("b")]}, {"test": "p"})
    corpus.splits["test"] = [video("b")]
    annotated._remove_overlap(corpus, annotated.Choices())
    assert corpus.ids("train") == {"a"} and corpus.ids("test") == {"b"}


def test_made_files_of_the_other_forms(tmp_path):
    step = {"id": "7", "label": "peel", "segment": [1.0, 4.0]}
    database = {
        "aaaaaaaaaaa": {
            "subset": "training",
            "class": "Peel",
            "duration": 9.0,
            "annotation": [step],
        },
        "bbbbbbbbbbb": {
            "subset": "testing",
            "class": "Peel",
            "duration": 9.0,
            "annotation": [step],
        },
    }
    (tmp_path / "COIN.json").write_text(json.dumps({"database": database}))
    corpus = coin.read(tmp_path / "COIN.json")
    assert corpus.ids("train") == {"aaaaaaaaaaa"} and corpus.protocols == {"test": "coin"}
    assert corpus.splits["test"][0].segments[0].labels == {"task": "Peel", "step": "7"}
    content = {
        "videos": [
            {"video_id": f"video{n}", "split": s}
            for n, s in enumerate(("train", "validate", "test"))
        ],
        "sentences": [{"video_id": f"video{n}", "caption": f"a {n}"} for n in (0, 1, 2, 0)],
    }
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps(content))
    (tmp_path / "test.csv").write_text("key,vid_key,video_id,sentence\nret0,msr2,video2,a clip\n")
    files = tmp_path / "MSRVTT_data.json", tmp_path / "test.csv"
    expected = {"9k": ["video0", "video1"], "7k": ["video0", "video1"], "full": ["video0"]}
    for training, names in expected.items():
        corpus = msrvtt.read(*files, training)
        assert [video.name for video in corpus.splits["train"]] == names
    assert len(corpus.splits["train"][0].segments) == 2
    assert corpus.protocols["test_1ka"] == "msrvtt_csv_1"
    with pytest.raises(index.DatasetError, match="give --test-csv MSRVTT_JSFUSION_test.csv"):
        msrvtt.read(files[0])  # it would train on the test
    assert corpus.protocols["validation"] == "msrvtt_full_validation"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"start": 5, "end": 3, "text": "x"}, "from 5.0 to 3.0 s"),
        ({"start": -1, "end": 3, "text": "x"}, "from -1.0 to 3.0 s"),
        ({"start": 1, "end": float("nan"), "text": "x"}, "to nan s"),
        ({"start": None, "end": 3, "text": "x"}, "times None to 3"),
        ({"start": 30, "end": 33, "text": "x"}, "begins at 30.0 s of 20.0 s"),
        ({"start": 1, "end": 3, "text": "  "}, "no text"),
        ({"start": 1, "end": 3, "text": None}, "no text"),
    ],
)
def test_segments_that_cannot_be_are_left_out_and_told(row, reason):
    corpus = annotated.Corpus("x", "", {}, {})
    good = {"start": 0, "end": 2, "text": " cut "}
    kept = annotated.segments_of(corpus, "v", [row, good], 20.0)
    assert [segment.text for segment in kept] == ["cut"]
    assert len(corpus.failures) == 1 and reason in corpus.failures[0]["reason"]


def test_files_of_another_form_are_named(tmp_path):
    path = tmp_path / "train.json"
    for content, read, message in (
        ('{"a": {}}', lambda p: youcook2.read(p, None), "no videos under 'database'"),
        ('{"a": {"b": 1}}', crosstask.read, "has no crosstask_annotations"),
        (
            '{"1": {"crosstask_annotations": {"v": [{"step_id": 99999999}]}}}',
            crosstask.read,
            "task 1 has a step 99999999; expected",
        ),
        ('{"a": {}}', coin.read, "expected COIN.json"),
        ('{"a": {}}', lambda p: hirest.read([p.rename(p.with_name("x.json"))]), "all_data_train"),
        ('{"videos": []}', lambda p: msrvtt.read(p, None), "no videos or no sentences"),
        ('{"database"', coin.read, "bytes that are no JSON"),
    ):
        path.write_text(content)
        with pytest.raises(index.DatasetError, match=message):
            read(path)
    path.with_suffix(".csv").write_text("a,b\n1,2\n")
    with pytest.raises(index.DatasetError, match="columns video_id, sentence"):
        msrvtt.read(None, path.with_suffix(".csv"))
    with pytest.raises(index.DatasetError, match="column video_id"):
        evaluated_ids.read([path.with_suffix(".csv")])


def test_what_is_said_in_trained_and_in_evaluated_videos_stands_apart(tmp_path):
    said = tmp_path / "said"
    said.mkdir()
    for name in (NAMES[0], NAMES[2]):  # one is trained on, one evaluated
        cues = "00:01.000 --> 00:04.000\nNow we cut the fish for the soup.\n"
        (said / f"{name}.en.vtt").write_text(f"WEBVTT\n\n{cues}")
    features = made_features(tmp_path / "f", NAMES)
    assert prepare(tmp_path, features, f"--transcripts={said}") == 0
    dataset = index.open_dataset(tmp_path / "set")
    narrated = dataset.split("train_narration")
    assert narrated.videos == [NAMES[0]] and narrated.clip_count.tolist() == [3]
    assert narrated.texts([0]) == ["Now we cut the fish for the soup."]
    told = (tmp_path / "set" / assembly.FAILURES_FILE).read_text()
    assert f'"{NAMES[1]}", "reason": "train_narration: no transcript' in told
    assert f'"{NAMES[3]}", "reason": "validation_narration: no transcript' in told
    assert NAMES[2] not in told
    # of the evaluated video, for evaluation alone, and found beside its examples
    evaluated = dataset.split("validation_narration")
    assert evaluated.videos == [NAMES[2]] and len(evaluated) == 1
    assert dataset.metadata["protocols"]["validation_narration"].endswith("3492_narration")
    spoken = texts.Spoken(dataset.split("validation"), evaluated)
    ids = np.arange(6)
    assert spoken.texts(ids, np.full(6, -1)) == ["Now we cut the fish for the soup.", *[""] * 5]


def test_transcripts_of_training_videos_alone_make_one_split(tmp_path):
    said = tmp_path / "said"
    said.mkdir()
    (said / f"{NAMES[0]}.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:04.000\nNow cut the fish.\n")
    corpus = youcook2.read(made_youcook2(tmp_path), None)
    narration.add_splits(corpus, said)
    assert set(corpus.splits) == {"train", "validation", "train_narration"}
    assert set(corpus.protocols) == {"validation"}
    assert not any("validation_narration" in one["reason"] for one in corpus.failures)


def test_transcripts_of_other_videos_are_refused(tmp_path, capsys):
    table = tmp_path / "said.csv"
    table.write_text("video_id,start,end,text\nother,1,2,hello\n")
    features = made_features(tmp_path / "f", NAMES)
    assert prepare(tmp_path, features, f"--transcripts={table}") == 2
    assert "no transcript of any training video (video_00000" in capsys.readouterr().err


@pytest.mark.long
def test_the_real_narration_of_youcook2():
    real(YOUCOOK2, SHARED / "youcook2" / "timed_asr.csv")
    corpus = youcook2.read(YOUCOOK2, None)
    narration.add_splits(corpus, SHARED / "youcook2" / "timed_asr.csv")
    narrated = corpus.ids("train_narration")
    assert narrated and narrated <= corpus.ids("train")
    assert not narrated & corpus.ids("validation")
    heard = corpus.ids("validation_narration")
    assert heard and heard <= corpus.ids("validation")
