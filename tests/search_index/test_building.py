"""Indexes that grow, shrink, go on after SIGKILL, and pass over what is damaged."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import bundles, fakes
from tests.search_index import made
from videobert_jax.export import safetensors
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.search_index import Index, SearchIndexError, building, manifest, vectors, windows
from videobert_jax.search_index.errors import FatalMismatch
from videobert_jax.video.decode import VideoError

pytest.importorskip("faiss", reason="faiss is not installed")
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tiny_run):
    return PretrainedModel(dataclasses.replace(bundles.tiny(tiny_run), contract=fakes.CONTRACT))


def never():
    raise AssertionError("nothing is to be extracted")


def update(folder, model, *paths, extractor=never, **options):
    return building.update(folder, model, paths, extractor, building.Options(**options))


def contents(folder):
    """{file name: (clips, {window number: vector as told})} of what an open index finds."""
    opened = Index.open(folder)
    queries = made.vectors(3, opened.manifest.maker.dim, 5).astype(np.float32)
    return [
        sorted((os.path.basename(h.file), h.start, round(h.score, 5)) for h in hits)
        for hits in opened.search(queries, 1000, merge=1)
    ]


def test_files_are_added_kept_changed_and_removed(model, tmp_path, capsys):
    folder, videos = tmp_path / "i", made.features(tmp_path / "v", {"a": 20, "b": 5, "c": 9})
    report = update(folder, model, videos)
    assert (report.new, report.segments, report.kind) == (3, 4 + 1 + 2, "exact")
    before = contents(folder)
    stamp = (folder / manifest.FILE).stat().st_mtime_ns
    report = update(folder, model, videos)
    assert (report.new, report.kept) == (0, 3)
    assert (folder / manifest.FILE).stat().st_mtime_ns == stamp
    made.features(tmp_path / "more", {"d": 12}, seed=1)
    assert update(folder, model, tmp_path / "more").new == 1
    assert building.remove(folder, [tmp_path / "more"]).dropped == 1
    assert contents(folder) == before
    assert len(list((folder / "shards").iterdir())) == 3 and len(list(folder.glob("*.faiss"))) == 1
    np.save(videos / "a.npy", np.load(videos / "a.npy")[::-1])
    os.utime(videos / "a.npy", ns=(1, 1))
    report = update(folder, model, videos)
    assert (report.new, report.changed, report.kept) == (0, 1, 2)
    changed = contents(folder)
    assert [r for r in changed[0] if r[0] != "a.npy"] == [r for r in before[0] if r[0] != "a.npy"]
    assert changed != before and len(changed[0]) == len(before[0])
    other = tmp_path / "fresh"
    update(other, model, videos)
    assert contents(other) == changed
    with pytest.raises(SearchIndexError, match="z.npy is not in .*; it has 3 files"):
        building.remove(folder, [videos / "a.npy", videos / "z.npy"])
    assert contents(folder) == changed


def test_vanished_files_are_told_and_dropped_with_prune(model, tmp_path):
    folder, videos = tmp_path / "i", made.features(tmp_path / "v", {"a": 20, "b": 5})
    update(folder, model, videos)
    (videos / "a.npy").unlink()
    (folder / "shards" / "left.safetensors").write_bytes(b"of a run that was stopped")
    report = update(folder, model, videos)
    assert (report.gone, report.dropped, report.segments) == (1, 0, 5)
    report = update(folder, model, videos, prune=True)
    assert (report.gone, report.dropped, report.segments) == (0, 1, 1)
    assert len(list((folder / "shards").iterdir())) == 1
    building.remove(folder, [videos])
    assert not list(folder.glob("*.faiss"))
    with pytest.raises(SearchIndexError, match="has no segments yet"):
        Index.open(folder)
    assert update(folder, model, videos).new == 1


def test_an_approximate_index_changes_in_its_lists_and_is_fitted_anew_when_it_has_doubled(
    model, tmp_path
):
    folder = tmp_path / "i"
    few = made.features(tmp_path / "v", {"a": 60, "b": 50, "c": 33})
    update(folder, model, few, kind="approximate")
    first = manifest.read(folder).vectors
    made.features(tmp_path / "more", {"d": 40}, seed=1)
    update(folder, model, tmp_path / "more")
    (few / "b.npy").unlink()
    update(folder, model, few, prune=True)
    second = manifest.read(folder).vectors
    assert second.trained == first.trained and second.sha256 != first.sha256
    fresh = tmp_path / "fresh"
    update(fresh, model, few, tmp_path / "more", kind="exact")

    def all_of(at):
        opened = Index.open(at)
        lists = opened.manifest.vectors.lists or None
        query = made.vectors(1, 16, 5).astype(np.float32)
        (hits,) = opened.search(query, 1000, merge=1, probes=lists)
        return sorted((h.file, h.start, round(h.score, 3)) for h in hits)

    assert all_of(folder) == all_of(fresh)
    made.features(tmp_path / "more", {f"e{n}": 90 for n in range(3)}, seed=2)
    update(folder, model, tmp_path / "more")
    assert manifest.read(folder).vectors.trained == manifest.read(folder).num_windows
    assert building.rebuild(folder, "exact").kind == "exact"
    update(fresh, model, few, tmp_path / "more")
    assert all_of(folder) == all_of(fresh)


def test_many_segments_are_searched_approximately_unless_told_otherwise(
    model, tmp_path, monkeypatch
):
    monkeypatch.setattr(vectors, "APPROXIMATE_FROM", 10)
    folder, videos = tmp_path / "i", made.features(tmp_path / "v", {"a": 40})
    assert update(folder, model, videos).kind == "exact"  # 9
    assert update(folder, model, made.features(tmp_path / "w", {"b": 8})).kind == "approximate"
    assert update(folder, model, videos, kind="exact").kind == "exact"
    assert update(folder, model, videos).kind == "exact"


def test_bad_files_are_named_and_the_others_indexed(model, tmp_path, capsys):
    folder = tmp_path / "i"
    videos = made.features(tmp_path / "v", {"good": 20, "nan": 5, "wide": 9, "cut": 9, "none": 0})
    np.save(videos / "nan.npy", np.full((5, fakes.FEATURE_DIM), np.nan, np.float16))
    np.save(videos / "wide.npy", np.zeros((5, 7), np.float16))
    np.save(videos / "words.npy", np.array(["a"]))
    (videos / "cut.npy").write_bytes((videos / "good.npy").read_bytes()[:-3])
    (videos / "link.npy").symlink_to(videos / "nowhere")
    (videos / ".hidden.npy").write_bytes(b"")
    np.savez(videos / "two.npz", a=np.zeros(2), b=np.zeros(2))
    np.savez(videos / "fine.npz", features=np.load(videos / "good.npy")[:9])
    other = made.features(tmp_path / "v" / "other", {"o": 4})
    contract = dataclasses.replace(fakes.CONTRACT, backbone="another")
    (other / "contract.json").write_text(json.dumps(contract.to_json()))
    alone = made.features(tmp_path / "v" / "alone", {"p": 4})
    (alone / "contract.json").unlink()
    report = update(folder, model, videos)
    assert report.new == 2 and report.segments == 4 + 2
    reasons = {os.path.basename(f["file"]): f["reason"] for f in report.failures}
    expected = {
        "nan.npy": "NaN or infinite features in 5 of 5 clips",
        "wide.npy": "expected floats [clips, 24]",
        "words.npy": "expected floats",
        "cut.npy": "cut.npy: ",
        "none.npy": "has no clips",
        "link.npy": "No such file",
        "two.npz": "expected one, or `features`",
        "o.npy": "backbone: ",
        "p.npy": "has no contract.json beside it",
    }
    assert reasons.keys() == expected.keys()
    assert all(part in reasons[name] for name, part in expected.items())
    assert "left out: " in capsys.readouterr().err
    (videos / "good.npy").write_bytes(b"damaged since")
    report = update(folder, model, videos)
    assert (report.dropped, report.kept, report.segments) == (1, 1, 2)


class StandIn:
    """Features of a text file: a row a letter. "bad" is no video."""

    contract = fakes.CONTRACT

    def __init__(self):
        self.seen = []

    def video_features(self, path):
        self.seen.append(os.path.basename(path))
        text = pathlib.Path(path).read_text()
        if text == "bad":
            raise VideoError(f"{path} cannot be decoded as video")
        random = np.random.default_rng(len(text))
        return random.normal(size=(len(text), fakes.FEATURE_DIM)).astype(np.float16)


def test_videos_are_extracted_once_and_their_features_kept(model, tmp_path):
    videos, stand_in = tmp_path / "v", StandIn()
    (videos / "sub").mkdir(parents=True)
    for name, text in (("a.mp4", "a" * 20), ("sub/a.mp4", "b" * 12), ("b.mkv", "bad")):
        (videos / name).write_text(text)
    made.features(videos, {"c": 5})
    (videos / "c.mp4").write_text("extracted already")
    folder = videos / "index"  # within what is indexed: passed over
    report = update(folder, model, videos, extractor=lambda: stand_in)
    assert report.new == 3 and [f["file"] for f in report.failures] == [str(videos / "b.mkv")]
    assert stand_in.seen == ["a.mp4", "b.mkv", "a.mp4"]
    paths = [file.path for file in manifest.read(folder).files]
    assert paths == [str(videos / name) for name in ("a.mp4", "c.mp4", "sub/a.mp4")]
    # Another index takes the features, and so does this one where its vectors are lost.
    update(tmp_path / "j", model, videos / "a.mp4", features=folder / "features")
    for shard in (folder / "shards").iterdir():
        shard.unlink()
    before = contents(folder)
    stand_in.seen.clear()
    assert update(folder, model, videos, extractor=lambda: stand_in).changed == 3
    assert stand_in.seen == ["b.mkv"] and contents(folder) == before
    (videos / "a.mp4").write_text("a" * 9)
    assert update(folder, model, videos, extractor=lambda: stand_in).changed == 1
    assert stand_in.seen[1:] == ["a.mp4", "b.mkv"]
    assert len(list((folder / "features").glob("*.npy"))) == 2


def test_an_extractor_of_other_features_ends_the_run(model, tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").write_text("video")
    stand_in = StandIn()
    stand_in.contract = dataclasses.replace(fakes.CONTRACT, layer="another")
    with pytest.raises(FatalMismatch, match="layer: the extractor has 'another', the checkpoint"):
        update(tmp_path / "i", model, tmp_path / "v", extractor=lambda: stand_in)
    assert not stand_in.seen


def test_what_does_not_belong_to_the_index_is_refused(model, tmp_path):
    videos = made.features(tmp_path / "v", {"a": 20})
    with pytest.raises(SearchIndexError, match="holds other files .a.npy, contract.json. and no"):
        update(videos, model, videos)
    update(tmp_path / "i", model, videos)
    with pytest.raises(
        SearchIndexError, match="windows of 8 clips every 4, asked for are 4 every 2"
    ):
        update(tmp_path / "i", model, videos, windows=windows.Windows(4, 2))
    for paths, message in (
        ([tmp_path / "none"], "none is not there"),
        ([videos / "contract.json"], "is neither a video"),
        ([tmp_path / "i"], "no videos; expected files such as .mp4"),
    ):
        with pytest.raises(SearchIndexError, match=message):
            update(tmp_path / "i", model, *paths)


def test_two_that_change_an_index_at_once_are_noticed(model, tmp_path, monkeypatch):
    folder, videos = tmp_path / "i", made.features(tmp_path / "v", {"a": 20, "b": 5})
    update(folder, model, videos / "a.npy")
    write = vectors.write

    def meanwhile(*arguments):
        monkeypatch.setattr(vectors, "write", write)
        building.remove(folder, [videos / "a.npy"])
        return write(*arguments)

    monkeypatch.setattr(vectors, "write", meanwhile)
    with pytest.raises(SearchIndexError, match="was changed by another process meanwhile"):
        update(folder, model, videos)
    assert update(folder, model, videos).new == 2


def test_an_index_goes_on_after_sigkill_and_equals_one_never_killed(model, tmp_path):
    videos = made.features(tmp_path / "v", {f"v{n:03d}": 5 + n % 12 for n in range(150)})
    safetensors.save_bundle(model.bundle, tmp_path / "export")
    command = [sys.executable, "-m", "videobert_jax", "index", str(videos), "--platform=cpu"]
    command += [f"--checkpoint={tmp_path / 'export'}"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def start(folder):
        return subprocess.Popen(
            [*command, f"--output={folder}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )

    process = start(killed)
    deadline = time.monotonic() + 120
    while len(list((killed / "shards").glob("*.safetensors"))) < 20:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    there = {path: path.stat().st_mtime_ns for path in (killed / "shards").glob("*.safetensors")}
    assert 20 <= len(there) < 150 and manifest.read(killed).files == ()
    (killed / ".vectors.1.tmp").write_bytes(b"of a kill while vectors were written")
    (killed / "exact-0123456789abcdef.faiss").write_bytes(b"of one before the manifest was")
    for process in (start(killed), start(whole)):
        said = process.communicate()[1]
        assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert manifest.read(killed) == manifest.read(whole)
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
    for folder in ("shards", "."):
        for path in filter(pathlib.Path.is_file, (whole / folder).iterdir()):
            assert path.read_bytes() == (killed / folder / path.name).read_bytes()
