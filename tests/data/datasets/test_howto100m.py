"""HowTo100M: captions in every published form, one video in memory at a time."""

import json
import pathlib

import pytest

from tests.data.datasets.preparing import prepare
from videobert_jax.data import index
from videobert_jax.data.datasets import howto100m


def captions(folder: pathlib.Path, videos) -> pathlib.Path:
    content = {
        name: {"start": [0, 4.5, 3], "end": [4, 9, 1], "text": [f"hello {name}", "now stir", "x"]}
        for name in videos
    }
    path = folder / "caption.json"
    path.write_text(json.dumps(content))
    return path


def test_howto100m_is_streamed_and_leaves_out_what_is_evaluated(tmp_path, monkeypatch):
    videos = [f"howto{number:06d}" for number in range(5)]
    about = tmp_path / "HowTo100M_v1.csv"
    about.write_text(
        "video_id,category_1,category_2,rank,task_id\n"
        + "".join(f"{name},Food and Entertaining,Recipes,{i},41\n" for i, name in enumerate(videos))
    )
    evaluated = tmp_path / "ids.txt"
    evaluated.write_text(f"{videos[1]}\n")
    dataset = prepare(
        tmp_path,
        "howto100m",
        videos,
        f"--annotations={captions(tmp_path, videos)}",
        f"--video-csv={about}",
        f"--evaluation-ids={evaluated}",
    )
    split = dataset.split("train")
    assert split.videos == [videos[0], *videos[2:]]
    assert split.texts([0, 1]) == [f"hello {videos[0]}", "now stir"] and len(split) == 8
    assert dataset.annotations("train")[1] == {
        "video": videos[2],
        "category_1": "Food and Entertaining",
        "category_2": "Recipes",
        "rank": "2",
        "task_id": "41",
    }
    assert dataset.metadata["overlap_removed"] == {"train": [videos[1]]}
    failures = (tmp_path / "set" / "failures.jsonl").read_text().splitlines()
    assert len(failures) == 5


def test_howto100m_holds_one_video_at_a_time(tmp_path, monkeypatch):
    videos = [f"howto{number:06d}" for number in range(4)]
    corpus = howto100m.read(captions(tmp_path, videos))
    read = []
    whole = howto100m.transcripts.read_transcripts

    def counted(path):
        for name, transcript in whole(path):
            read.append(name)
            yield name, transcript

    monkeypatch.setattr(howto100m.transcripts, "read_transcripts", counted)
    stream = iter(corpus.splits["train"])
    assert next(stream).name == videos[0] and read == videos[:1]
    path = tmp_path / "caption.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(index.DatasetError, match="caption.json"):
        list(corpus.splits["train"])


def aligned(folder: pathlib.Path, rows=(("a" * 11, 1, "cut it"), ("b" * 11, 6.5, "stir"))):
    path = folder / "htm_aa_v1.csv"
    path.write_text("vid,timestamp,text\n" + "".join(f"{v},{t},{text}\n" for v, t, text in rows))
    return path


def test_sentences_aligned_to_a_moment_are_examples_around_it(tmp_path):
    rows = [("a" * 11, 1, "cut it"), ("a" * 11, 6.5, "stir"), ("b" * 11, 7, "serve")]
    names = ["a" * 11, "b" * 11]
    file = aligned(tmp_path, rows)
    dataset = prepare(tmp_path, "howto100m", names, f"--annotations={file}")
    split = dataset.split("train")
    assert split.texts(range(3)) == ["cut it", "stir", "serve"] and split.videos == names
    assert split.start.tolist() == pytest.approx([0.0, 4.9, 5.4])
    assert split.end.tolist() == pytest.approx([2.6, 8.1, 8.6])
    with pytest.raises(index.DatasetError, match="has no annotations"):
        dataset.annotations("train")


def test_moments_that_are_none_and_videos_without_words_are_told(tmp_path):
    rows = [("a" * 11, "soon", "cut it"), ("b" * 11, "nan", "stir"), ("b" * 11, 4, "serve")]
    corpus = howto100m.read(aligned(tmp_path, rows))
    assert corpus.ids("train") == {"b" * 11}
    assert [len(video.segments) for video in corpus.splits["train"]] == [1]
    told = [failure["reason"] for failure in corpus.failures]
    assert "'soon'" in told[0] and "1 captions, the first" in told[1]
    empty = {"start": [], "end": [], "text": []}
    path = tmp_path / "caption.json"
    path.write_text(json.dumps({"c" * 11: empty}))
    assert howto100m.read(path).failures == [{"video": "c" * 11, "reason": "no captions"}]


def test_a_video_that_returns_and_other_tables_are_refused(tmp_path):
    rows = [("a" * 11, 1, "cut"), ("b" * 11, 2, "stir"), ("a" * 11, 3, "serve")]
    with pytest.raises(index.DatasetError, match="aaaaaaaaaaa is there twice; sort the file"):
        howto100m.read(aligned(tmp_path, rows))
    path = tmp_path / "other.csv"
    for content, message in (("video,start\na,1\n", "expected a csv with"), ("", "no rows")):
        path.write_text(content)
        with pytest.raises(index.DatasetError, match=message):
            howto100m.read(path)
    path.write_text("vid,timestamp,text\naaaaaaaaaaa,1,cut\nbbbbbbbbbbb,2\n")
    with pytest.raises(index.DatasetError, match="other.csv:3: a row is cut off"):
        howto100m.read(path)
    about = tmp_path / "HowTo100M_v1.csv"
    about.write_text("video_id,category_1\naaaaaaaaaaa,Food\n")
    with pytest.raises(index.DatasetError, match="category_2, rank, task_id"):
        howto100m.read(aligned(tmp_path), about)


def test_a_table_of_captions_is_read_row_by_row(tmp_path):
    """What stands far behind the first video is not read for it: here it is no text at all."""
    path = aligned(tmp_path, [(f"howto{number:06d}", 1, "cut it") for number in range(5000)])
    with open(path, "ab") as file:
        file.write(b"c" * 11 + b",9,\xff\n")
    stream = howto100m._captions(path)
    assert next(stream)[0] == "howto000000"
    with pytest.raises(index.DatasetError, match="no csv file"):
        list(stream)
