"""Arrays, pickles, PyTorch's and HDF5 files, workbooks, safetensors, and the layouts of published
features, which are made of them."""

import dataclasses
import functools
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.numpy

from tests.drills import mutations
from tests.drills.readers import Reader
from tests.files import damage, workbooks
from videobert_jax.data.datasets import coin_taxonomy
from videobert_jax.data.importers import FeatureError, Settings, layouts
from videobert_jax.data.index import DatasetError
from videobert_jax.files import arrays, hdf5, pickles, spreadsheets, tensors, torch_files
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.inference import inputs, reading
from videobert_jax.schema import ContractMismatch
from videobert_jax.text import word_list
from videobert_jax.weights import s3d

_DIM = 4
_VIDEOS = tuple(f"{video}: " for video in ("a", "b", "v0", "v1", "video", "video0", "video1"))
_SETTINGS = Settings(dim=_DIM, stride_seconds=1.0, normalised=False)


_TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x18tQK\x00K\x06K\x04\x86K\x04K\x01\x86\x89"
    b"ccollections\nOrderedDict\n)RtR"
)


def _files(make: Callable[[], list[bytes]], suffix: str) -> Callable[[pathlib.Path], None]:
    def write(folder: pathlib.Path) -> None:
        for number, content in enumerate(make()):
            (folder / f"seed{number}{suffix}").write_bytes(content)

    return write


def _each(read: Callable[[pathlib.Path], Any]) -> Callable[[pathlib.Path], Any]:
    return lambda folder: [read(file) for file in sorted(folder.iterdir())]


def _features(seed: int = 0, dim: int = _DIM) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(6, dim)).astype(np.float32)


def _layout(name: str, path: str, folder: pathlib.Path) -> Any:
    known = layouts.LAYOUTS[name].known
    settings = _SETTINGS if known.dim is None else dataclasses.replace(_SETTINGS, dim=known.dim)
    if known.normalised is not None:
        settings = dataclasses.replace(settings, normalised=known.normalised)
    source = layouts.open_source(name, folder / path, settings)
    return [source.features(video) for video in source.names]


def _reader(name: str, make: Callable[[pathlib.Path], None], path: str = "") -> Reader:
    read = functools.partial(_layout, name, path)
    modules = ("data.importers.layouts", "data.importers.source")
    return Reader(f"features_{name}", modules, make, read, (FeatureError,), named=_VIDEOS)


def _mapped(path: pathlib.Path) -> None:
    np.array(arrays.read_npy(path, mapped=True, objects=True))


def _safetensors(folder: pathlib.Path) -> None:
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4, dtype=np.int64)}
    content = safetensors.numpy.save(values, {"about": '{"format": "x", "of": [1, 2]}'})
    (folder / "seed.safetensors").write_bytes(content)


def _read_safetensors(path: pathlib.Path) -> None:
    for read in (tensors.read, tensors.places, tensors.mapped):
        read(path)


def _npys(folder: pathlib.Path) -> None:
    for number in range(2):
        np.save(folder / f"video{number}.npy", _features(number))


def _npzs(folder: pathlib.Path) -> None:
    np.savez(folder / "a.npz", _features(0))
    np.savez_compressed(folder / "b.npz", features=_features(1), times=np.arange(6))


def _pickled(folder: pathlib.Path) -> None:
    values = {"a": _features(0, 1024), "b": _features(1, 1024)}
    (folder / "all.pkl").write_bytes(pickle.dumps(values, 4))


def _shards(folder: pathlib.Path) -> None:
    (folder / "train_meta.pkl").write_bytes(pickle.dumps({"0": ["a", "b"]}, 2))
    values = np.concatenate([_features(0, 512), _features(1, 512)])
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    np.save(folder / "train_0_data.npy", values.astype(np.float16))
    np.save(folder / "train_0_starts.npy", np.array([0, 6, 12]))


def _published(folder: pathlib.Path) -> None:
    for number in range(2):
        np.save(folder / f"v{number}_s3d.npy", _features(number))
        np.save(folder / f"v{number}_timestamps_ms.npy", np.arange(6) * 1000.0)


def _read_published(folder: pathlib.Path) -> Any:
    settings = Settings(dim=_DIM, normalised=False)
    source = layouts.open_source("video_features", folder, settings)
    return [source.features(video) for video in source.names]


def _contracted(folder: pathlib.Path) -> None:
    from tests.search_index import made

    made.features(folder, {"a": 5})


def _read_contracted(folder: pathlib.Path) -> None:
    source = layouts.open_source("npy", folder)
    source.features("a")


def _taxonomy(folder: pathlib.Path) -> None:
    sheets = {
        "domain_target_mapping": [["Domains", "Targets"], ["Food", "MakeTea"]],
        "target_action_mapping": [
            ["Target Id", "Target Label", "Action Id", "Action Label"],
            ["1", "MakeTea", "1", "boil the water"],
        ],
    }
    (folder / "taxonomy.xlsx").write_bytes(workbooks.xlsx(workbooks.parts(sheets)))


def _h5(folder: pathlib.Path) -> None:
    import h5py

    with h5py.File(folder / "all.h5", "w") as file:
        file["a/features"] = _features(0)
        file.create_dataset("b", data=_features(1), chunks=(2, _DIM), compression="gzip")


def _tensor(folder: pathlib.Path) -> None:
    """What torch.save writes of one tensor, float32 [6, 4]."""
    _write_torch(folder / "video.pth", _TENSOR + b".")


def _state_dict(folder: pathlib.Path) -> None:
    _write_torch(folder / "weights.pth", b"}X\x01\x00\x00\x00a" + _TENSOR + b"s.")


def _write_torch(file: pathlib.Path, value: bytes) -> None:
    members = [("a/data.pkl", b"\x80\x02" + value), ("a/data/0", _features().tobytes())]
    file.write_bytes(mutations.zip_of(members))


READERS = [
    Reader(
        "npy",
        ("files.arrays", "files.buffers"),
        _files(damage.npy_files, ".npy"),
        _each(lambda path: (arrays.read_npy(path, objects=True), _mapped(path))),
        (ArrayFileError,),
    ),
    Reader(
        "npz",
        ("files.arrays", "files.archives"),
        _files(damage.npz_files, ".npz"),
        _each(lambda path: arrays.read_npz(path, objects=True, max_bytes=1 << 22)),
        (ArrayFileError,),
    ),
    Reader(
        "pickle",
        ("files.pickles", "files.pickle_machine"),
        _files(damage.pickle_files, ".pkl"),
        _each(pickles.read_pickle),
        (ArrayFileError,),
    ),
    Reader(
        "torch",
        ("files.torch_files", "files.torch_values"),
        lambda folder: [
            (folder / f"{name}.pth").write_bytes((damage.GOLDEN / f"torch_{name}.pth").read_bytes())
            for name in ("zip", "legacy")
        ],
        _each(lambda path: torch_files.read_torch(path, max_bytes=1 << 22)),
        (ArrayFileError,),
    ),
    Reader(
        "state_dict",
        ("weights.s3d",),
        _state_dict,
        _each(lambda path: s3d._read(path, "where it is published")),
        (ArrayFileError, s3d.WeightsError),
    ),
    Reader(
        "hdf5",
        ("files.hdf5", "files.hdf5_worker"),
        _files(damage.hdf5_files, ".h5"),
        _each(lambda path: hdf5.read_hdf5(path, patience=4.0)),
        (ArrayFileError,),
        packages=("h5py",),
        seconds=25,
    ),
    Reader(
        "xlsx",
        ("files.spreadsheets",),
        _files(damage.xlsx_files, ".xlsx"),
        _each(spreadsheets.read_xlsx),
        (ArrayFileError,),
    ),
    Reader(
        "coin_taxonomy",
        ("data.datasets.coin_taxonomy",),
        _taxonomy,
        _each(coin_taxonomy.read),
        (DatasetError,),
    ),
    Reader(
        "safetensors", ("files.tensors",), _safetensors, _each(_read_safetensors), (ArrayFileError,)
    ),
    Reader(
        "word_list",
        ("text.word_list",),
        lambda folder: np.save(folder / "words.npy", np.array(["cut", "onion", "é"])),
        _each(lambda path: word_list.read(path, 4)),
        (ArrayFileError, word_list.WordListError),
    ),
    Reader(
        "features_to_encode",
        ("inference.reading",),
        _contracted,
        lambda folder: reading.read_features(folder / "a.npy"),
        (ArrayFileError, inputs.InputError, ContractMismatch),
    ),
    _reader("npy", _npys),
    _reader("npz", _npzs),
    dataclasses.replace(
        _reader(
            "npz",
            lambda folder: np.savez(folder / "all.npz", a=_features(0), b=_features(1)),
            "all.npz",
        ),
        name="features_npz_of_all",
    ),
    _reader("univl_pickle", _pickled, "all.pkl"),
    _reader("mmpt", _shards),
    Reader(
        "features_video_features",
        ("data.importers.layouts",),
        _published,
        _read_published,
        (FeatureError,),
        named=_VIDEOS,
    ),
    Reader(
        "features_with_contract",
        ("data.importers.source",),
        _contracted,
        _read_contracted,
        (FeatureError, ContractMismatch),
        named=_VIDEOS,
    ),
    dataclasses.replace(_reader("hdf5", _h5, "all.h5"), packages=("h5py",), seconds=40),
    _reader("tan", _tensor),
]
