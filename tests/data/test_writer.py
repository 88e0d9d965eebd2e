import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests.data import drawn
from videobert_jax.data import index, part, shard_file, writer
from videobert_jax.files import digests


def tree(path: pathlib.Path) -> dict[str, str]:
    files = (file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): digests.sha256_file(file) for file in files}


def start(path, contract) -> writer.DatasetWriter:
    return writer.DatasetWriter(
        path, "drawn", contract, part_size=part.PartSize(videos=2), metadata={"notes": "drawn"}
    )


def test_every_clip_comes_back_from_the_place_the_index_says(dataset):
    for name in drawn.VIDEO_CLIPS:
        split = dataset.splits[name]
        readers = [
            shard_file.open_shard(*row)
            for row in zip(split.shard_paths, split.shard_records, strict=True)
        ]
        assert len(readers) > 1 or name == "test"
        for video, features in drawn.drawn_videos(name).items():
            number = split.videos.index(video)
            assert split.num_clips[number] == len(features)
            for clip, expected in enumerate(features):
                place = int(split.record_start[number]) + clip // 16
                shard = int(np.searchsorted(split.shard_starts, place, "right")) - 1
                content = readers[shard].read([place - int(split.shard_starts[shard])])
                found = split.record_format.features(content)[0, clip % 16]
                np.testing.assert_array_equal(found, expected)


# protobuf deprecates what this tfds asks of it.
@pytest.mark.filterwarnings("ignore:label.. is deprecated:DeprecationWarning")
def test_tfds_reads_the_same_records(dataset):
    tfds = pytest.importorskip("tensorflow_datasets")
    source = tfds.builder_from_directory(dataset.path).as_data_source()
    assert set(source) == set(drawn.VIDEO_CLIPS)  # text alone has no records
    split = dataset.splits["train"]
    assert len(source["train"]) == sum(split.shard_records)
    for row in source["train"]:
        features = drawn.drawn_videos("train")[split.videos[row["video"]]]
        first, count = int(row["first_clip"]), int(row["num_clips"])
        np.testing.assert_array_equal(row["features"][:count], features[first : first + count])
        assert not row["features"][count:].any()


def test_statistics_are_those_of_the_training_split(dataset):
    features = np.concatenate(list(drawn.drawn_videos("train").values())).astype(np.float64)
    np.testing.assert_allclose(dataset.statistics.mean, features.mean(0), rtol=1e-5)
    np.testing.assert_allclose(dataset.statistics.scale, features.std(0), rtol=1e-5)


def test_the_same_videos_give_the_same_bytes_and_digest(dataset, contract, tmp_path):
    out = start(tmp_path / "again", contract)
    drawn.fill(out)
    again = out.finish()
    assert tree(again.path) == tree(dataset.path)
    assert again.digest == dataset.digest


def test_an_interrupted_preparation_goes_on_and_computes_no_feature_twice(
    dataset, contract, tmp_path
):
    path = tmp_path / "stopped"
    videos = drawn.drawn_videos("train")
    computed = []

    def lazily(name):
        def compute():
            computed.append(name)
            if len(computed) == 5:
                raise KeyboardInterrupt
            return videos[name]

        return compute

    def fill(out):
        for name, features in videos.items():
            segments = drawn.drawn_segments(name, len(features))
            out.add_video("train", name, lazily(name), segments)
        for name, features in drawn.drawn_videos("test").items():
            out.add_video("test", name, features, drawn.drawn_segments(name, len(features)))
        spoken = [writer.Segment(0, 0, "hello"), writer.Segment(0, 0, "é")]
        out.add_video("spoken", "talk", None, spoken)

    with pytest.raises(KeyboardInterrupt):
        fill(start(path, contract))
    finished = sorted(file.name for file in (path / "partial").glob("*.done"))
    assert finished == ["train-00000.done", "train-00001.done"]
    with pytest.raises(index.DatasetError, match="run the same prepare command"):
        index.open_dataset(path)
    out = start(path, contract)
    fill(out)
    assert tree(out.finish().path) == tree(dataset.path)
    # Two videos a part; video 4 stood in the part that was interrupted.
    assert [int(name[-1]) for name in computed] == [0, 1, 2, 3, 4, 4, 5]


def test_a_killed_preparation_goes_on_to_the_same_bytes(dataset, tmp_path):
    path = tmp_path / "killed"
    program = textwrap.dedent("""
        import json, os, pathlib, signal, sys
        from tests.data import drawn
        from videobert_jax import schema
        from videobert_jax.data import part, writer
        from videobert_jax.files import atomic

        path, limit, contract = pathlib.Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
        whole, writes = atomic.write_bytes, 0

        def write_or_die(file, content):
            global writes
            if writes == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            writes += 1
            whole(file, content)

        atomic.write_bytes = write_or_die
        contract = schema.FeatureContract.from_json(contract)
        out = writer.DatasetWriter(path, "drawn", contract, part_size=part.PartSize(videos=2),
                                   metadata={"notes": "drawn"})
        drawn.fill(out)
        out.finish()
    """)
    contract = json.dumps(dataset.contract.to_json())
    root = pathlib.Path(__file__).parents[2]
    ends = []
    for limit in (4, 12, 1000):  # in the second part; when only the last file is missing
        arguments = [sys.executable, "-c", program, str(path), str(limit), contract]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
        ends.append(subprocess.run(arguments, cwd=root, env=environment, check=False).returncode)
    assert ends == [-signal.SIGKILL] * 2 + [0]
    assert tree(path) == tree(dataset.path)


def test_a_source_that_changed_in_between_is_noticed(contract, tmp_path):
    videos = drawn.drawn_videos("train")
    first = start(tmp_path / "set", contract)
    for name in ("train1", "train2", "train3"):
        first.add_video("train", name, videos[name], drawn.drawn_segments(name, len(videos[name])))
    for name, changes in {
        "another text": lambda f: (f, [writer.Segment(0, 1, "new")]),
        "other features": lambda f: (f + 1, drawn.drawn_segments("train1", len(f))),
    }.items():
        again = start(tmp_path / "set", contract)
        with pytest.raises(index.DatasetError, match="source has changed"):
            again.add_video("train", "train1", *changes(videos["train1"]))
            pytest.fail(name)
    again = start(tmp_path / "set", contract)
    again.add_video("train", "train1", videos["train1"], drawn.drawn_segments("train1", 16))
    with pytest.raises(index.DatasetError, match="1 videos were given, but"):
        again.finish()
    with pytest.raises(index.DatasetError, match="other settings"):
        writer.DatasetWriter(tmp_path / "set", "drawn", contract, part_size=part.PartSize(videos=4))


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (np.zeros((3, drawn.DIM), np.float32), "float32"),
        (np.zeros((3, drawn.DIM + 1), np.float16), rf"\[3, {drawn.DIM + 1}\]"),
        (np.zeros(drawn.DIM, np.float16), rf"\[{drawn.DIM}\]"),
    ],
)
def test_features_of_another_form_name_the_video(contract, tmp_path, features, found):
    out = start(tmp_path / "set", contract)
    with pytest.raises(index.DatasetError, match=rf"train: video 'v': .*{found}, expected"):
        out.add_video("train", "v", features, [])


def test_bad_videos_names_and_directories_are_refused(contract, tmp_path):
    out = start(tmp_path / "set", contract)
    out.add_video("train", "v", None, [writer.Segment(0, 1, "a")])
    with pytest.raises(index.DatasetError, match="'v': it was given twice"):
        out.add_video("train", "v", None, [])
    with pytest.raises(index.DatasetError, match="split name 'Train/1'"):
        out.add_video("Train/1", "v", None, [])
    with pytest.raises(index.DatasetError, match="from 3 to 1 s"):
        out.add_video("train", "w", None, [writer.Segment(3, 1, "a")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("...")
    with pytest.raises(index.DatasetError, match=r"it holds thesis\.tex"):
        start(tmp_path / "full", contract)
    with pytest.raises(index.DatasetError, match="no examples were given"):
        start(tmp_path / "empty", contract).finish()


def test_a_finished_dataset_is_not_written_over(copied_path, contract):
    before = tree(copied_path)
    with pytest.raises(index.DatasetError, match="finished dataset is there already"):
        start(copied_path, contract)
    assert tree(copied_path) == before


def test_without_tfds_the_remedy_is_named_and_what_was_written_is_kept(
    dataset, contract, tmp_path, monkeypatch
):
    path = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow_datasets", None)
        out = start(path, contract)
        drawn.fill(out)
        with pytest.raises(index.DatasetError, match="pip install tensorflow-datasets"):
            out.finish()
    out = start(path, contract)
    drawn.fill(out)
    assert tree(out.finish().path) == tree(dataset.path)
