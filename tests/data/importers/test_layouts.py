"""Every layout on made files of its published form: the same numbers, the contract it has."""

import concurrent.futures
import gc
import io
import json
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from tests import fakes
from tests.data.importers import published
from videobert_jax.data import importers
from videobert_jax.data.importers import FeatureError, Settings
from videobert_jax.files import arrays, hdf5
from videobert_jax.schema import UNKNOWN

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data"
VIDEOS = ("dQw4w9WgXcQ", "-0_abcDEF-_")
SAID = Settings(stride_seconds=1.5, normalised=False)


def made(dim: int = 8, unit: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = {name: generator.normal(size=(3 + i, dim)) for i, name in enumerate(VIDEOS)}
    if unit:
        values = {n: v / np.linalg.norm(v, axis=1, keepdims=True) for n, v in values.items()}
    return {name: value.astype(np.float32) for name, value in values.items()}


def check(source: importers.FeatureSource, features: dict[str, np.ndarray]) -> None:
    assert source.names == sorted(features)
    for name, values in features.items():
        found = source.features(name)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, values.astype(np.float16))


def test_a_folder_of_arrays(tmp_path):
    features = made()
    for number, (name, values) in enumerate(features.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        np.save(folder / f"{name}.mp4.npy", values)
    source = importers.open_source("npy", tmp_path, SAID)
    check(source, features)
    assert source.contract.dim == 8 and source.contract.backbone == UNKNOWN
    np.save(tmp_path / f"v_{VIDEOS[0]}.npy", features[VIDEOS[0]])
    with pytest.raises(FeatureError, match=r"are features of one video, dQw4w9WgXcQ"):
        importers.open_source("npy", tmp_path, SAID)


def test_arrays_with_our_own_contract(tmp_path):
    generator = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", generator.normal(size=(4, fakes.FEATURE_DIM)).astype(np.float16))
    (tmp_path / "contract.json").write_text(json.dumps(fakes.CONTRACT.to_json()))
    assert importers.open_source("npy", tmp_path).contract == fakes.CONTRACT
    with pytest.raises(FeatureError, match="leave out --dim"):
        importers.open_source("npy", tmp_path, Settings(dim=3))


def test_archives(tmp_path):
    features = made()
    np.savez(tmp_path / "all.npz", **features)
    check(importers.open_source("npz", tmp_path / "all.npz", SAID), features)
    folder = tmp_path / "hero"
    folder.mkdir()
    for name, values in features.items():
        np.savez(folder / f"{name}.npz", features=values, other=np.zeros(2))
    source = importers.open_source("hero_npz", folder, Settings(normalised=False))
    check(source, features)
    assert source.contract.stride_seconds == 1.5 and source.contract.backbone == "s3d_howto100m"


def test_univl_and_its_contract(tmp_path):
    features = made(1024)
    published.write("univl_pickle", tmp_path / "features.pickle", features)
    source = importers.open_source("univl_pickle", tmp_path / "features.pickle")
    check(source, features)
    contract = source.contract
    assert (contract.dim, contract.stride_seconds, contract.normalised) == (1024, 1.0, False)
    with pytest.raises(FeatureError, match=r"stride_seconds=2\.0 was said.*UniVL"):
        importers.open_source(
            "univl_pickle", tmp_path / "features.pickle", Settings(stride_seconds=2.0)
        )


def test_mmpt_shards(tmp_path):
    features = made(512, unit=True)
    published.write("mmpt", tmp_path, features)
    source = importers.open_source("mmpt", tmp_path)
    check(source, features)
    assert source.contract.normalised and source.contract.fps == 30
    np.save(tmp_path / "train_0_starts.npy", np.array([0, 3]))
    with pytest.raises(FeatureError, match="expected 3 integers for 2 videos"):
        importers.open_source("mmpt", tmp_path)


@pytest.mark.parametrize("grouped", [False, True])
def test_hdf5(tmp_path, grouped):
    h5py = pytest.importorskip("h5py")
    features = made()
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name, values in features.items():
            file[f"v_{name}/features" if grouped and name[0] != "-" else name] = values
    check(importers.open_source("hdf5", tmp_path / "f.h5", SAID), features)


def _all_in_one(layout: str, folder: pathlib.Path, features) -> pathlib.Path:
    if layout == "npz":
        np.savez(folder / "all.npz", **features)
        return folder / "all.npz"
    with pytest.importorskip("h5py").File(folder / "all.h5", "w") as file:
        for name, values in features.items():
            file[name] = values
    return folder / "all.h5"


def _counted(monkeypatch: pytest.MonkeyPatch, kind: type) -> list[pathlib.Path]:
    """The files that are opened as a `kind` from here on."""
    opened, init = [], kind.__init__

    def __init__(self, path, **settings):
        opened.append(path)
        init(self, path, **settings)

    monkeypatch.setattr(kind, "__init__", __init__)
    return opened


@pytest.mark.parametrize(("layout", "kind"), [("npz", arrays.NpzFile), ("hdf5", hdf5.Hdf5File)])
def test_a_file_of_many_videos_is_opened_once(layout, kind, tmp_path, monkeypatch):
    """Its names are read whole each time. Threads share it, and a fork does not."""
    features = {f"video{i}": values for i in range(20) for values in [made(seed=i)[VIDEOS[0]]]}
    path = _all_in_one(layout, tmp_path, features)
    opened = _counted(monkeypatch, kind)
    source = importers.open_source(layout, path, SAID)
    check(source, features)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(source.features, 4 * source.names))
    for values, name in zip(found, 4 * source.names, strict=True):
        np.testing.assert_array_equal(values, features[name].astype(np.float16))
    assert opened == [path]
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", os.getppid)  # as a fork sees it
        check(source, features)
    assert opened == [path, path]


def test_the_process_that_reads_a_source_is_given_back(tmp_path):
    source = importers.open_source("hdf5", _all_in_one("hdf5", tmp_path, made()), SAID)
    idle = len(hdf5._idle)
    del source
    gc.collect()
    assert len(hdf5._idle) == idle + 1 and hdf5._idle[-1].alive


def _extracted(folder: pathlib.Path, features, kind: str = "rgb") -> None:
    """As video_features writes a folder."""
    folder.mkdir(exist_ok=True)
    for name, values in features.items():
        np.save(folder / f"{name}_{kind}.npy", values)
        np.save(folder / f"{name}_timestamps_ms.npy", np.arange(len(values)) * 2560.0)


def test_names_of_video_features_may_begin_alike(tmp_path):
    values = list(made().values())
    features = {"clip": values[0], "clip_1": values[1], "clip_1_rgb": values[0][:2]}
    _extracted(tmp_path, features)
    said = Settings(normalised=False)
    check(importers.open_source("video_features", tmp_path, said), features)
    (tmp_path / "clip_1_rgb_rgb.npy").unlink()
    with pytest.raises(FeatureError, match="features of clip_1_rgb in none"):
        importers.open_source("video_features", tmp_path, said)


def test_a_video_in_two_folders_of_video_features_is_refused(tmp_path):
    for kind in ("flow", "rgb"):
        _extracted(tmp_path / kind, made(), kind)
    with pytest.raises(FeatureError, match="flow/.*' and '.*rgb/.*' are features of one video"):
        importers.open_source("video_features", tmp_path, Settings(normalised=False))


def test_a_folder_of_video_features_is_not_listed_for_every_video(tmp_path, monkeypatch):
    features = {f"video{i}": values for i in range(30) for values in [made(seed=i)[VIDEOS[0]]]}
    _extracted(tmp_path, features)
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda *of: listed.append(of) or scandir(*of))
    check(importers.open_source("video_features", tmp_path, Settings(normalised=False)), features)
    assert 0 < len(listed) < 10


def test_video_features_says_its_stride(tmp_path):
    features = made()
    for name, values in features.items():
        np.save(tmp_path / f"{name}_s3d.npy", values)
        np.save(tmp_path / f"{name}_fps.npy", np.array(25.0))
        np.save(tmp_path / f"{name}_timestamps_ms.npy", np.arange(len(values)) * 2560.0)
    said = Settings(normalised=False)
    source = importers.open_source("video_features", tmp_path, said)
    check(source, features)
    assert source.contract.stride_seconds == 2.56
    np.save(tmp_path / f"{VIDEOS[0]}_flow.npy", features[VIDEOS[0]])
    with pytest.raises(FeatureError, match="expected one dQw4w9WgXcQ_TYPE.npy"):
        importers.open_source("video_features", tmp_path, said)
    (tmp_path / f"{VIDEOS[0]}_flow.npy").unlink()
    np.save(tmp_path / f"{VIDEOS[0]}_timestamps_ms.npy", np.arange(3) * 640.0)
    with pytest.raises(FeatureError, match=r"clips every 0\.64 to 2\.56 s"):
        importers.open_source("video_features", tmp_path, said)


def test_tan_tensors(tmp_path):
    features = made()
    published.write("tan", tmp_path, features)
    source = importers.open_source("tan", tmp_path, Settings(normalised=False))
    check(source, features)
    assert source.contract.stride_seconds == 1.0


def test_crosstask_parts(tmp_path):
    features = made(3200)
    published.write("crosstask", tmp_path, features)
    check(importers.open_source("crosstask", tmp_path), features)
    for part, columns in (("i3d", slice(0, 1024)), ("vggish", slice(3072, 3200))):
        source = importers.open_source("crosstask", tmp_path, Settings(part=part))
        check(source, {name: values[:, columns] for name, values in features.items()})
        assert source.contract.backbone == part
    with pytest.raises(FeatureError, match="has the parts i3d, resnet152, vggish"):
        importers.open_source("crosstask", tmp_path, Settings(part="audio"))


def test_what_nobody_says_must_be_said_and_what_is_asserted_is_kept(tmp_path):
    features = made()
    for name, values in features.items():
        np.save(tmp_path / f"{name}.npy", values)
    with pytest.raises(FeatureError, match=r"--stride=SECONDS, --normalised"):
        importers.open_source("frames", tmp_path)
    said = Settings(
        stride_seconds=1.0, normalised=False, asserted={"backbone": "clip_l14", "fps": "1"}
    )
    source = importers.open_source("frames", tmp_path, said)
    assert source.asserted == ("backbone", "fps") and source.contract.fps == 1.0
    known = importers.open_source("frames", tmp_path, SAID).contract
    assert source.contract.backbone == "clip_l14" and known.backbone == UNKNOWN
    for wrong, message in (
        ({"colour": "red"}, "no field 'colour'"),
        ({"dim": "many"}, "dim='many', expected a number"),
        ({"frames_per_clip": "7"}, "frames_per_clip=7 was said"),
    ):
        with pytest.raises(FeatureError, match=message):
            importers.open_source("frames", tmp_path, Settings(None, 1.0, False, asserted=wrong))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 8), np.float32), "0 clips"),
        (np.ones(8, np.float32), r"shape \[8\], expected \[clips, 8\]"),
        (np.ones((2, 3, 8), np.float32), r"shape \[2, 3, 8\]"),
        (np.ones((2, 9), np.float32), r"shape \[2, 9\]"),
        (np.ones((2, 8), np.int32), "features of int32"),
        (np.full((2, 8), np.nan, np.float32), "2 of 2 clips are NaN"),
        (np.full((2, 8), 1e6, np.float32), "beyond float16"),
        (np.full((2, 8), 8**-0.5, np.float32), "vectors of norm 1 on average"),
    ],
)
def test_features_that_are_not_what_was_said_are_refused(tmp_path, values, message):
    np.save(tmp_path / "a.npy", made()[VIDEOS[0]])
    np.save(tmp_path / "b.npy", values)
    source = importers.open_source("npy", tmp_path, SAID)
    assert len(source.features("a")) == 3
    with pytest.raises(FeatureError, match=message):
        source.features("b")


def test_the_real_features_of_ten_activitynet_videos():
    path = SHARED / "activitynet" / "i3d_rgb.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    source = importers.open_source("npz", path, Settings(None, 2.56, False))
    with np.load(path) as archive:
        expected = {name: archive[name] for name in archive.files}
    assert len(source.names) == 10 and source.contract.dim == 1024
    for name, values in expected.items():
        found = source.features(name.removeprefix("v_"))
        np.testing.assert_array_equal(found, values.astype(np.float16))


def test_nothing_runs_unpacks_without_end_or_leaves_its_folder(tmp_path):
    canary = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return pathlib.Path.touch, (canary,)

    (tmp_path / "code.pickle").write_bytes(pickle.dumps({"a": Bomb()}))
    with pytest.raises(FeatureError, match=r"pathlib"):
        importers.open_source("univl_pickle", tmp_path / "code.pickle")
    assert not canary.exists()
    header = io.BytesIO()
    shape = (25 * 10**6, 1024)  # 100 GB
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "all.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.npy", _npy(made()[VIDEOS[0]]))
        archive.writestr("../../escaped.npy", _npy(made()[VIDEOS[0]]))
        with archive.open("bomb.npy", "w", force_zip64=True) as file:
            file.write(header.getvalue())
            for _ in range(64):
                file.write(bytes(1 << 20))
    source = importers.open_source("npz", tmp_path / "all.npz", Settings(8, 1.0, False))
    assert source.names == ["bomb", "escaped", "good"]  # a key, never a path
    assert len(source.features("good")) == len(source.features("escaped")) == 3
    with pytest.raises(FeatureError, match="bomb"):
        source.features("bomb")


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def test_damaged_files_are_refused_one_by_one(tmp_path):
    """300 files with bytes changed, cut out or cut off, beside a whole one."""
    generator = np.random.default_rng(7)
    whole = {"npy": _npy(made()[VIDEOS[0]]), "tan": published.torch_file(made()[VIDEOS[0]])}
    outcomes = {"read": 0, "refused": 0}
    for number in range(300):
        layout = ("npy", "tan")[number % 2]
        content = bytearray(whole[layout])
        for _ in range(int(generator.integers(1, 4))):
            content[int(generator.integers(len(content)))] = int(generator.integers(256))
        if number % 3 == 0:
            content = content[: int(generator.integers(len(content)))]
        folder = tmp_path / str(number)
        folder.mkdir()
        suffix = {"npy": ".npy", "tan": ".pth.tar"}[layout]
        (folder / f"a{suffix}").write_bytes(whole[layout])
        (folder / f"b{suffix}").write_bytes(content)
        source = importers.open_source(
            layout, folder, Settings(8, None if layout == "tan" else 1.0, False)
        )
        assert len(source.features("a")) == 3
        try:
            assert source.features("b").shape[1] == 8
            outcomes["read"] += 1  # only values were changed
        except FeatureError as error:
            assert "b" in str(error)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 100 and sum(outcomes.values()) == 300
