"""HiREST (Zala et al. 2023): how-to queries, the moment that answers them, and its steps."""

import pathlib
from collections.abc import Sequence

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

SPLITS = {"train": "train", "val": "validation", "test": "test"}


@datasets.published
def read(annotations: Sequence[pathlib.Path]) -> Corpus:
    """The official all_data_train.json, all_data_val.json, all_data_test.json, `{query: {video:
    {relevant, clip, v_duration, bounds, steps [{heading, absolute_bounds}]}}}`.

    A video under several queries is one with the steps of all. Raises DatasetError on other forms.
    """
    corpus = Corpus("hirest", "HiREST (Zala et al. 2023)", {}, {})
    for file in annotations:
        split = SPLITS.get(file.stem.rsplit("_", 1)[-1])
        if split is None:
            raise index.DatasetError(
                f"{file}: expected all_data_train.json, all_data_val.json or all_data_test.json"
            )
        queries: dict[str, list[dict]] = {}
        steps: dict[str, list[dict]] = {}
        for query, found in datasets.read_json(file, dict).items():
            for name, about in found.items():
                video = video_ids.canonical(name)
                asked = {"query": query, "relevant": about.get("relevant")}
                queries.setdefault(video, []).append({**asked, "bounds": about.get("bounds")})
                steps.setdefault(video, []).extend(
                    {
                        "start": (step.get("absolute_bounds") or (None, None))[0],
                        "end": (step.get("absolute_bounds") or (None, None))[-1],
                        "text": step.get("heading"),
                    }
                    for step in about.get("steps", [])
                )
        corpus.splits[split] = [
            AnnotatedVideo(name, segments_of(corpus, name, steps[name]), {"queries": queries[name]})
            for name in sorted(queries)
        ]
        if split != "train":
            corpus.protocols[split] = f"hirest_{split}"
    return corpus
