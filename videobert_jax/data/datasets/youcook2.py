"""YouCook II (Zhou et al. 2018): cooking steps with a sentence each, and retrieval protocols.

Steps have labels as in VideoBERT's zero-shot classification (Sun et al. 2019, section 4.3): the
verbs and nouns of their own sentence that are among the commonest of the training sentences, by
youcook2_labels.json, which `videobert label-lists` made. A step may have several of a kind: its
first is its label in the index, all of them stand in the annotations.
"""

import dataclasses
import pathlib
from typing import Any

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of
from videobert_jax.text import label_lists

SUBSETS = {"training": "train", "validation": "validation", "testing": "test"}
LABELS_FILE = pathlib.Path(__file__).with_name("youcook2_labels.json")
CSV_SPLITS = {3350: "youcook2_milnce_3350", 3305: "youcook2_videoclip_3305"}


@datasets.published
def read(annotations: pathlib.Path, retrieval_csv: pathlib.Path | None = None) -> Corpus:
    """The official annotation (youcookii_annotations_trainval.json), and as the split `retrieval`
    the clips of a retrieval csv (MIL-NCE's: end, start, task, text, video_id).

    Raises DatasetError where a file is of another form.
    """
    lists = label_lists.load(LABELS_FILE)
    corpus = read_steps(annotations)
    for split, videos in corpus.splits.items():
        corpus.splits[split] = [_labelled(video, lists) for video in videos]
    corpus.surface_forms |= {kind: dict(of) for kind, of in lists.forms.items()}
    if "test" in corpus.splits:
        corpus.protocols["test"] = "youcook2_test"
    if retrieval_csv is not None:
        _add_retrieval(corpus, retrieval_csv)
    corpus.splits = {split: videos for split, videos in corpus.splits.items() if videos}
    corpus.protocols = {s: p for s, p in corpus.protocols.items() if s in corpus.splits}
    return corpus


@datasets.published
def read_steps(annotations: pathlib.Path) -> Corpus:
    """The official annotation alone, without labels.

    Raises DatasetError where the file is of another form.
    """
    content = datasets.read_json(annotations, dict)
    database = content.get("database")
    if not isinstance(database, dict) or not database:
        raise index.DatasetError(
            f"{annotations}: no videos under 'database'; expected YouCook II's annotation"
        )
    corpus = Corpus(
        "youcook2",
        "YouCook II, steps with a sentence each (Zhou et al. 2018)",
        {"train": [], "validation": []},
        {"validation": "youcook2_annotation_3492"},
    )
    for name, video in database.items():
        split = SUBSETS.get(str(video.get("subset")))
        if split is None:
            corpus.drop(name, f"subset {video.get('subset')!r}")
            continue
        steps = video.get("annotations", [])
        rows = [
            {"start": s["segment"][0], "end": s["segment"][1], "text": s["sentence"]}
            for s in steps
            if len(s.get("segment", ())) == 2 and "sentence" in s
        ]
        if len(rows) < len(steps):
            corpus.drop(name, f"{len(steps) - len(rows)} steps without segment or sentence")
        segments = segments_of(corpus, name, rows, video.get("duration"))
        about: dict[str, Any] = {
            "recipe": video.get("recipe_type"),
            "duration": video.get("duration"),
            "steps": [{"start": s.start, "end": s.end, "sentence": s.text} for s in segments],
        }
        corpus.add(split, AnnotatedVideo(video_ids.canonical(name), segments, about))
    return corpus


def _labelled(video: AnnotatedVideo, lists: label_lists.LabelLists) -> AnnotatedVideo:
    """The video with the first label of each kind in its segments, all of them in its steps."""
    told = [lists.told(segment.text) for segment in video.segments]
    segments = tuple(
        dataclasses.replace(segment, labels={kind: labels[0] for kind, labels in of.items()})
        for segment, of in zip(video.segments, told, strict=True)
    )
    about = dict(video.annotation or {})
    about["steps"] = [{**step, "labels": of} for step, of in zip(about["steps"], told, strict=True)]
    return AnnotatedVideo(video.name, segments, about)


def _add_retrieval(corpus: Corpus, path: pathlib.Path) -> None:
    rows = datasets.csv_rows(path, ("video_id", "start", "end", "text"))
    by_video: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_video.setdefault(video_ids.canonical(row["video_id"]), []).append(row)
    corpus.splits["retrieval"] = [
        AnnotatedVideo(name, segments_of(corpus, name, of_video), {"steps": []})
        for name, of_video in sorted(by_video.items())
    ]
    corpus.protocols["retrieval"] = CSV_SPLITS.get(len(rows), f"youcook2_csv_{len(rows)}")
