"""YouCook II (Zhou et al. 2018): cooking steps with a sentence each, and retrieval protocols."""

import pathlib
from typing import Any

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

SUBSETS = {"training": "train", "validation": "validation", "testing": "test"}
CSV_SPLITS = {3350: "youcook2_milnce_3350", 3305: "youcook2_videoclip_3305"}


@datasets.published
def read(annotations: pathlib.Path, retrieval_csv: pathlib.Path | None = None) -> Corpus:
    """The official annotation (youcookii_annotations_trainval.json), and as the split `retrieval`
    the clips of a retrieval csv (MIL-NCE's: end, start, task, text, video_id).

    Raises DatasetError where a file is of another form.
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
    if "test" in corpus.splits:
        corpus.protocols["test"] = "youcook2_test"
    if retrieval_csv is not None:
        _add_retrieval(corpus, retrieval_csv)
    corpus.splits = {split: videos for split, videos in corpus.splits.items() if videos}
    corpus.protocols = {s: p for s, p in corpus.protocols.items() if s in corpus.splits}
    return corpus


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
