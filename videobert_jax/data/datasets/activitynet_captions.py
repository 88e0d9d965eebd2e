"""ActivityNet Captions (Krishna et al. 2017): videos told sentence by sentence."""

import pathlib
from collections.abc import Sequence

from videobert_jax.data import datasets, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus, segments_of

PROTOCOLS = {
    "val_1": "activitynet_captions_val1",
    "val_2": "activitynet_captions_val2",
    "test": "activitynet_captions_test",
}


@datasets.published
def read(annotations: Sequence[pathlib.Path]) -> Corpus:
    """The official files (train.json, val_1.json, val_2.json): each a split of its name.

    `{video: {duration, timestamps [[s, s]], sentences}}`. Raises DatasetError on other forms.
    """
    corpus = Corpus("activitynet_captions", "ActivityNet Captions (Krishna et al. 2017)", {}, {})
    for file in annotations:
        split = file.stem.lower().replace("-", "_")
        if split in PROTOCOLS:
            corpus.protocols[split] = PROTOCOLS[split]
        corpus.splits.setdefault(split, [])
        for name, video in datasets.read_json(file, dict).items():
            times, sentences = video.get("timestamps", []), video.get("sentences", [])
            if len(times) != len(sentences) or any(len(pair) != 2 for pair in times):
                corpus.drop(name, f"{len(times)} times of {len(sentences)} sentences")
                continue
            rows = [
                {"start": start, "end": end, "text": text}
                for (start, end), text in zip(times, sentences, strict=True)
            ]
            segments = segments_of(corpus, name, rows, video.get("duration"))
            about = {"duration": video.get("duration")}
            corpus.add(split, AnnotatedVideo(video_ids.canonical(name), segments, about))
    return corpus
