"""Clip features in the forms that others publish them in."""

import io
import pathlib
import pickle
import zipfile
from collections.abc import Mapping

import numpy as np


def write(layout: str, path: pathlib.Path, features: Mapping[str, np.ndarray]) -> None:
    """Features float32 [clips, dim] of videos by name, as a file or a folder of the layout."""
    if layout == "univl_pickle":
        path.write_bytes(pickle.dumps(dict(features)))
        return
    path.mkdir(parents=True, exist_ok=True)
    if layout == "mmpt":
        (path / "train_meta.pkl").write_bytes(pickle.dumps({0: list(features)}))
        np.save(path / "train_0_data.npy", np.concatenate(list(features.values())))
        np.save(path / "train_0_starts.npy", np.cumsum([0, *map(len, features.values())]))
        return
    for name, values in features.items():
        if layout == "tan":
            (path / f"{name}.pth.tar").write_bytes(torch_file(values))
        else:
            suffix = ".mp4.npy" if layout == "howto100m_npy" else ".npy"
            np.save(path / f"{name}{suffix}", values)


def torch_file(values: np.ndarray) -> bytes:
    """What torch.save writes of one float32 tensor, by the format's definition."""
    rows, columns = values.shape
    pickled = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + pickle.dumps(rows * columns, 2)[2:-1]
        + b"tQK\x00"
        + pickle.dumps((rows, columns), 2)[2:-1]
        + pickle.dumps((columns, 1), 2)[2:-1]
        + b"\x89ccollections\nOrderedDict\n)RtR."
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", values.astype("<f4").tobytes())
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()
