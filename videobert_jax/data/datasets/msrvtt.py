"""MSR-VTT (Xu et al. 2016): web clips with sentences; its retrieval splits."""

import pathlib
import re
from typing import Any

from videobert_jax.data import datasets, index, video_ids
from videobert_jax.data.datasets.annotated import AnnotatedVideo, Corpus
from videobert_jax.data.segments import Segment

TRAINING = {
    "7k": ("train", "validate"),
    "9k": ("train", "validate", "test"),
    "full": ("train",),
}
WHOLE_CLIP = 3600.0  # seconds; a sentence tells of its whole clip: the features say where that ends

_CLIP = re.compile(r"(?:video|msr)?(\d+)")  # JSFusion writes msr7010, MSRVTT-QA 7010


def clip_name(name: str | int) -> str:
    """MSR-VTT's own name of a clip, videoN, however a benchmark of its clips writes it.

    Raises ValueError where it names none.
    """
    found = _CLIP.fullmatch(video_ids.canonical(str(name)))
    if found is None:
        raise ValueError(f"{name!r} is no clip of MSR-VTT; expected videoN, msrN or N")
    return f"video{found[1]}"


@datasets.published
def read(
    annotations: pathlib.Path | None, test_csv: pathlib.Path | None = None, training: str = "9k"
) -> Corpus:
    """MSRVTT_data.json (`videos [{video_id, split}]`, `sentences [{video_id, caption}]`) and the
    1k-A test (csv with video_id and sentence: MSRVTT_JSFUSION_test.csv).

    training: "9k" all but the 1k-A test (Gabeur et al. 2020), "7k" the official training and
    validation videos, 7,010 (Miech et al. 2019), "full" the official split in three. Every sentence
    of a clip is an example. Raises DatasetError on other forms, and on "9k" without the test that
    it leaves out.
    """
    corpus = Corpus("msrvtt", f"MSR-VTT (Xu et al. 2016), training {training}", {}, {})
    tested: set[str] = set()
    if test_csv is not None:
        rows = datasets.csv_rows(test_csv, ("video_id", "sentence"))
        videos = [
            AnnotatedVideo(video_ids.canonical(row["video_id"]), (_whole(row["sentence"]),))
            for row in rows
        ]
        corpus.splits["test_1ka"] = videos
        corpus.protocols["test_1ka"] = (
            "msrvtt_1ka" if len(rows) == 1000 else f"msrvtt_csv_{len(rows)}"
        )
        tested = {video.name for video in videos}
    if annotations is not None:
        _add_captions(corpus, datasets.read_json(annotations, dict), training, tested)
    return corpus


def _add_captions(corpus: Corpus, content: dict[str, Any], training: str, tested: set[str]) -> None:
    if not content.get("videos") or not content.get("sentences"):
        raise index.DatasetError("MSRVTT_data.json: no videos or no sentences; expected both lists")
    if training not in TRAINING:
        raise index.DatasetError(f"--training={training}: expected one of {', '.join(TRAINING)}")
    if training == "9k" and not tested:
        raise index.DatasetError(
            "--training=9k is all clips but those of the 1k-A test: give --test-csv "
            "MSRVTT_JSFUSION_test.csv, or --training=7k or full"
        )
    split_of = {video_ids.canonical(v["video_id"]): v["split"] for v in content["videos"]}
    captions: dict[str, list[str]] = {}
    for sentence in content["sentences"]:
        captions.setdefault(video_ids.canonical(sentence["video_id"]), []).append(
            sentence["caption"]
        )

    def videos(splits: tuple[str, ...]) -> list[AnnotatedVideo]:
        names = [n for n, split in split_of.items() if split in splits and n not in tested]
        return [
            AnnotatedVideo(name, tuple(_whole(text) for text in captions.get(name, []) if text))
            for name in names
        ]

    corpus.splits["train"] = videos(TRAINING[training])
    if training == "full":
        for split, source in (("validation", "validate"), ("test", "test")):
            corpus.splits[split] = videos((source,))
            corpus.protocols[split] = f"msrvtt_full_{split}"


def _whole(text: str) -> Segment:
    return Segment(0.0, WHOLE_CLIP, text)
