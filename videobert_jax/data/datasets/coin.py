"""COIN (Tang et al. 2019): 180 tasks, 778 steps, with their times."""

import pathlib

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets import coin_taxonomy
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

SUBSETS = {"training": "train", "testing": "test"}


@datasets.published
def read(annotations: pathlib.Path, taxonomy: pathlib.Path | None = None) -> Corpus:
    """The official COIN.json, `database {video: {subset, class, duration, annotation [{id, label,
    segment [s, s]}]}}`.

    taxonomy: the official taxonomy.xlsx, which tasks and steps are compared with; it gives the
    videos' domains, and names all tasks and steps, also those that no video shows. Raises
    DatasetError on other forms, and where the two contradict each other.
    """
    database = datasets.read_json(annotations, dict).get("database")
    if not isinstance(database, dict) or not database:
        raise index.DatasetError(f"{annotations}: no videos under 'database'; expected COIN.json")
    corpus = Corpus("coin", "COIN (Tang et al. 2019)", {"train": [], "test": []}, {"test": "coin"})
    known = None if taxonomy is None else coin_taxonomy.read(taxonomy)
    if known is not None:
        known.check(database)
        corpus.surface_forms = known.surface_forms()
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
        if known is not None:
            about["domain"] = known.domains[str(video.get("class"))]
        corpus.add(split, AnnotatedVideo(video_ids.canonical(name), segments, about))
    corpus.splits = {split: videos for split, videos in corpus.splits.items() if videos}
    corpus.protocols = {s: p for s, p in corpus.protocols.items() if s in corpus.splits}
    return corpus
