"""COIN (Tang et al. 2019): 180 tasks, 778 steps, with their times."""

import pathlib

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

SUBSETS = {"training": "train", "testing": "test"}


def read(annotations: pathlib.Path) -> Corpus:
    """The official COIN.json, `database {video: {subset, class, duration, annotation [{id, label,
    segment [s, s]}]}}`. Raises DatasetError on other forms."""
    database = datasets.read_json(annotations, dict).get("database")
    if not isinstance(database, dict) or not database:
        raise index.DatasetError(f"{annotations}: no videos under 'database'; expected COIN.json")
    corpus = Corpus("coin", "COIN (Tang et al. 2019)", {"train": [], "test": []}, {"test": "coin"})
    for name, video in database.items():
        split = SUBSETS.get(str(video.get("subset")))
        if split is None:
            corpus.drop(name, f"subset {video.get('subset')!r}")
            continue
        rows = [
            {
                "start": (step.get("segment") or (None, None))[0],
                "end": (step.get("segment") or (None, None))[-1],
                "text": step.get("label"),
                "labels": {"task": str(video.get("class")), "step": str(step.get("id"))},
            }
            for step in video.get("annotation", [])
        ]
        segments = segments_of(corpus, name, rows, video.get("duration"))
        about = {
            "task": video.get("class"),
            "duration": video.get("duration"),
            "steps": [{"start": s.start, "end": s.end, "step": s.labels["step"]} for s in segments],
        }
        corpus.add(split, AnnotatedVideo(video_ids.canonical(name), segments, about))
    corpus.splits = {split: videos for split, videos in corpus.splits.items() if videos}
    corpus.protocols = {s: p for s, p in corpus.protocols.items() if s in corpus.splits}
    return corpus
