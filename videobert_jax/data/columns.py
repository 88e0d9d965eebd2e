"""Joins the pieces of the index that the parts of a split hold into memory-mappable columns."""

import pathlib
from collections.abc import Sequence

import numpy as np

from videobert_jax.data import index, part
from videobert_jax.schema import NO_LABEL

_MOST_LABELS = np.iinfo(np.int16).max


def join(folder: pathlib.Path, parts: Sequence[part.FinishedPart]) -> dict[str, list[str]]:
    """Names of the labels of each kind; writes the columns and text.bin into `folder`.

    One part is in memory at a time. Raises DatasetError on more labels than int16 counts.
    """
    label_names = _union_of_labels(parts)
    num_examples = sum(finished.num_segments for finished in parts)
    num_videos = sum(len(finished.videos) for finished in parts)

    def column(name: str, dtype, length: int) -> np.ndarray:
        if length == 0:
            np.save(folder / f"{name}.npy", np.zeros(0, dtype))
            return np.zeros(0, dtype)
        return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (length,))

    examples = {name: column(name, d, num_examples) for name, d in index.EXAMPLE_COLUMNS.items()}
    videos = {name: column(name, d, num_videos) for name, d in index.VIDEO_COLUMNS.items()}
    labels = {kind: column(f"label_{kind}", np.int16, num_examples) for kind in label_names}
    offsets = column("text_offset", np.int64, num_examples + 1)
    offsets[0] = 0
    row, video, first_record = 0, 0, 0
    with open(folder / index.TEXT_FILE, "wb") as text:
        for finished in parts:
            piece = finished.columns()
            rows = slice(row, row + finished.num_segments)
            for name, values in examples.items():
                values[rows] = piece[name]
            for kind, values in labels.items():
                values[rows] = _renumber(piece, kind, finished.label_names, label_names)
            ends = offsets[row] + np.cumsum(piece["text_length"])
            offsets[row + 1 : row + 1 + finished.num_segments] = ends
            text.write(piece["text"].tobytes())
            here = slice(video, video + len(finished.videos))
            videos["num_clips"][here] = piece["num_clips"]
            videos["record_start"][here] = piece["record_start"] + first_record
            row, video = rows.stop, here.stop
            first_record += finished.num_records
    for array in (*examples.values(), *videos.values(), *labels.values(), offsets):
        if isinstance(array, np.memmap):
            array.flush()
    return label_names


def _union_of_labels(parts: Sequence[part.FinishedPart]) -> dict[str, list[str]]:
    union: dict[str, set[str]] = {}
    for finished in parts:
        for kind, names in finished.label_names.items():
            union.setdefault(kind, set()).update(names)
    for kind, names in union.items():
        if len(names) > _MOST_LABELS:
            raise index.DatasetError(
                f"{len(names)} labels of kind {kind!r}, expected at most {_MOST_LABELS}: free "
                "text belongs into the caption"
            )
    return {kind: sorted(union[kind]) for kind in sorted(union)}


def _renumber(piece, kind: str, names: dict[str, list[str]], union: dict[str, list[str]]):
    """A part's label ids counted in the names of the whole split; -1 stays."""
    if kind not in names:
        return NO_LABEL
    place = {name: i for i, name in enumerate(union[kind])}
    table = np.array([*(place[name] for name in names[kind]), NO_LABEL], np.int16)
    return table[piece[f"label_{kind}"]]
