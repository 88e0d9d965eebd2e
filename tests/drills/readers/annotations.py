"""Annotations of the field's datasets: JSON, csv, text and archives, as they are published."""

import gzip
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tests.data.datasets import preparing
from tests.drills.readers import Reader
from videobert_jax.cli.reproduce import ReproduceError, read_steps
from videobert_jax.data.datasets import (
    activitynet_captions,
    activitynet_sample,
    annotated,
    coin,
    crosstask,
    evaluated_ids,
    hirest,
    how2qa,
    howto100m,
    msrvtt,
    msrvtt_multiple_choice,
    msrvtt_qa,
    youcook2,
    youcook2_keyframes,
)
from videobert_jax.data.index import DatasetError
from videobert_jax.files.errors import ArrayFileError

_ID = "abcdefghijk"
_STEP = {"id": "7", "label": "peel", "segment": [1.0, 4.0]}
_COIN = {"class": "Peel", "duration": 9.0, "annotation": [_STEP]}
_ASKED = {
    "a0": "red",
    "a1": "blue",
    "a2": "green",
    "a3": "white",
    "answer_idx": 2,
    "q": "What colour?",
    "ts": "2.5-6",
    "vid_name": "41",
}
_JSON: Mapping[str, Any] = {
    "youcook2.json": {
        "database": {
            _ID: {
                "duration": 20.0,
                "subset": "training",
                "recipe_type": "113",
                "annotations": [{"id": 0, "segment": [1, 4], "sentence": "cut it"}],
            },
            "b": {"duration": 9.0, "subset": "validation", "annotations": []},
        }
    },
    "val_1.json": {
        _ID: {"duration": 9.0, "timestamps": [[0, 2], [1.5, 9]], "sentences": ["cut", "stir"]}
    },
    "all_data_val.json": {
        "make tea": {
            "a.mp4": {
                "relevant": True,
                "clip": True,
                "v_duration": 9,
                "bounds": [1, 8],
                "steps": [{"heading": "boil", "absolute_bounds": [1, 3]}],
            }
        }
    },
    "crosstask.json": {
        "16815": {
            "task_full_name": "Grill Steak0",
            "steps": ["season", "grill"],
            "crosstask_annotations": {_ID: [{"step_id": 1, "step_s": 1.5, "step_e": 3}]},
            "video_duration": {_ID: 9.0},
        }
    },
    "coin.json": {
        "database": {"a": {"subset": "training", **_COIN}, "b": {"subset": "testing", **_COIN}}
    },
    "msrvtt.json": {
        "videos": [{"video_id": f"video{n}", "split": "train"} for n in range(2)],
        "sentences": [{"video_id": f"video{n}", "caption": f"a {n}"} for n in range(2)],
    },
    "test_qa.json": [{"video_id": 7010, "question": "what?", "answer": "tea", "id": 1}],
    "choice.json": [{"video": "video7.mp4", "caption": list("abcde"), "answer": 2}],
    "mapping.json": {"41": f"{_ID}_60_120"},
    "caption.json": {_ID: {"start": [0, 2.5], "end": [2, 4], "text": ["cut", "stir it"]}},
}
_TEXT = {
    "retrieval.csv": f"end,start,task,text,video_id\n4,1.5,113,cut it,{_ID}\n9,5,113,stir,b\n",
    "test.csv": "key,vid_key,video_id,sentence\nret0,msr2,video2,a clip\n",
    "choice.tsv": "vid_key\ta1\ta2\ta3\ta4\ta5\tanswer\nmsr7\ta\tb\tc\td\te\t1\n",
    "how2QA_val.csv": f"{_ID},[2.5:6],red,blue,white,What?,green\nb,[1:2],a,b,c,Who?,d\n",
    "how2qa_val_release.jsonl": json.dumps(_ASKED) + "\n" + json.dumps(_ASKED) + "\n",
    "choice.jsonl": json.dumps({"clip_name": "video7", "options": list("abcde"), "answer": 1}),
    "aligned.csv": f"vid,timestamp,text\n{_ID},1.5,cut\n{_ID},3,stir\n",
    "videos.csv": f"video_id,category_1,category_2,rank,task_id\n{_ID},Food,Recipes,1,2\n",
    "ids.txt": f"{_ID}\nhttps://youtu.be/{_ID}\n",
    "validation_youcook.csv": "end,start,task,text,video_id\n4,1.5,113,cut it,a\n",
}


def _write(*names: str) -> Callable[[pathlib.Path], None]:
    def make(folder: pathlib.Path) -> None:
        for name in names:
            text = json.dumps(_JSON[name]) if name in _JSON else _TEXT[name]
            (folder / name).write_text(text)

    return make


def _all_of(corpus: annotated.Corpus) -> None:
    """Goes through the videos, which some readers leave until then."""
    for videos in corpus.splits.values():
        list(videos)


def _reader(
    name: str, files: Iterable[str], read: Callable[[pathlib.Path], annotated.Corpus]
) -> Reader:
    modules = (f"data.datasets.{name.partition('-')[0]}", "data.datasets")
    return Reader(
        f"annotations_{name}",
        modules,
        _write(*files),
        lambda folder: _all_of(read(folder)),
        (DatasetError,),
    )


def _keyframes(folder: pathlib.Path) -> None:
    pairs = [
        {
            "key": f"{_ID}_{n}",
            "video": _ID,
            "split": "training",
            "start": n,
            "end": n + 1,
            "sentence": "cut",
        }
        for n in range(2)
    ]
    (folder / "keyframe_pairs.json").write_text(json.dumps(pairs))
    features = np.zeros((2, 1024), np.float16)
    keys = np.array([pair["key"] for pair in pairs])
    np.savez(folder / "keyframe_i3d_kinetics400.npz", keys=keys, features=features)
    said = [
        {"video_id": _ID, "sentences": ["now cut it"]},
        {"video_id": "b", "sentences": ["stir"]},
    ]
    lines = "".join(json.dumps(one) + "\n" for one in said).encode()
    (folder / "transcripts.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
    database = {"database": {_ID: {"subset": "training"}, "b": {"subset": "validation"}}}
    (folder / "youcookii_annotations_trainval.json").write_text(json.dumps(database))


def _sample(folder: pathlib.Path) -> None:
    video = {"timestamps": [[0, 2]], "sentences": ["cut"], "feature_seconds": 0.5}
    names = ("v_a", "v_b", "v_c")
    (folder / "captions.json").write_text(json.dumps(dict.fromkeys(names, video)))
    np.savez(folder / "i3d_rgb.npz", **{name: np.ones((3, 1024), np.float16) for name in names})


def _prepared(
    prepare: Callable[[pathlib.Path, pathlib.Path], Any],
) -> Callable[[pathlib.Path], Any]:
    """Into a folder beside the source, which the drill empties."""
    return lambda folder: prepare(folder, folder.parent / "written" / "set")


READERS = [
    _reader(
        "youcook2",
        ("youcook2.json", "retrieval.csv"),
        lambda folder: youcook2.read(folder / "youcook2.json", folder / "retrieval.csv"),
    ),
    _reader(
        "activitynet_captions",
        ("val_1.json",),
        lambda folder: activitynet_captions.read([folder / "val_1.json"]),
    ),
    _reader(
        "hirest", ("all_data_val.json",), lambda folder: hirest.read([folder / "all_data_val.json"])
    ),
    _reader(
        "crosstask", ("crosstask.json",), lambda folder: crosstask.read(folder / "crosstask.json")
    ),
    Reader(
        "annotations_crosstask_release",
        ("data.datasets.crosstask_release",),
        lambda folder: preparing.crosstask_release(folder / "release"),
        lambda folder: _all_of(crosstask.read(folder / "release")),
        (DatasetError,),
    ),
    _reader("coin", ("coin.json",), lambda folder: coin.read(folder / "coin.json")),
    _reader(
        "msrvtt",
        ("msrvtt.json", "test.csv"),
        lambda folder: msrvtt.read(folder / "msrvtt.json", folder / "test.csv"),
    ),
    _reader(
        "msrvtt_qa", ("test_qa.json",), lambda folder: msrvtt_qa.read([folder / "test_qa.json"])
    ),
    *(
        _reader(
            f"msrvtt_multiple_choice-{suffix}",
            (f"choice.{suffix}",),
            lambda folder, suffix=suffix: msrvtt_multiple_choice.read(folder / f"choice.{suffix}"),
        )
        for suffix in ("tsv", "json", "jsonl")
    ),
    _reader(
        "how2qa-csv", ("how2QA_val.csv",), lambda folder: how2qa.read([folder / "how2QA_val.csv"])
    ),
    _reader(
        "how2qa-value",
        ("how2qa_val_release.jsonl", "mapping.json"),
        lambda folder: how2qa.read([folder / "how2qa_val_release.jsonl"], folder / "mapping.json"),
    ),
    _reader(
        "howto100m",
        ("caption.json", "videos.csv"),
        lambda folder: howto100m.read(folder / "caption.json", folder / "videos.csv"),
    ),
    _reader(
        "howto100m-aligned", ("aligned.csv",), lambda folder: howto100m.read(folder / "aligned.csv")
    ),
    Reader(
        "evaluated_ids",
        ("data.datasets.evaluated_ids",),
        _write("youcook2.json", "how2qa_val_release.jsonl", "test.csv", "ids.txt", "test_qa.json"),
        lambda folder: evaluated_ids.read(sorted(folder.iterdir())),
        (DatasetError,),
    ),
    Reader(
        "youcook2_keyframes",
        ("data.datasets.youcook2_keyframes",),
        _keyframes,
        _prepared(youcook2_keyframes.prepare),
        (DatasetError, ArrayFileError),
        writes=True,
    ),
    Reader(
        "activitynet_sample",
        ("data.datasets.activitynet_sample",),
        _sample,
        _prepared(activitynet_sample.prepare),
        (DatasetError, ArrayFileError),
        writes=True,
    ),
    Reader(
        "reproduced_steps",
        ("cli.reproduce",),
        _write("validation_youcook.csv"),
        lambda folder: read_steps(folder / "validation_youcook.csv"),
        (ReproduceError,),
    ),
]
