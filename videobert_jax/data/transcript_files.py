"""Transcripts by the video they are of: a folder with a file a video, or one file of many."""

import pathlib
import re
from collections.abc import Iterable

from videobert_jax.data import index, video_ids

SUFFIXES = (".vtt", ".srt", ".json3", ".json", ".csv")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def video_of(file: pathlib.Path) -> tuple[str, str]:
    """(canonical id of its video, language or nothing): YouTube's files are VIDEO.en.vtt."""
    stem = file.name.removesuffix(file.suffix)
    name, dot, language = stem.rpartition(".")
    if not (name and dot and _LANGUAGE.fullmatch(language)):
        name, language = stem, ""
    return video_ids.canonical(name), language


def folder_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """`files_in` of --transcripts. Raises DatasetError where there is no such folder."""
    if not folder.is_dir():
        raise index.DatasetError(f"{folder}: no folder; give --transcripts DIR")
    return files_in(folder)


def files_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files anywhere below a folder that are transcripts by their names, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def files_by_video(files: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    """A transcript a video. Raises DatasetError where one has two."""
    found: dict[str, pathlib.Path] = {}
    for file in files:
        video, _ = video_of(file)
        if video in found:
            raise index.DatasetError(
                f"{found[video]} and {file} are transcripts of one video; keep one of them"
            )
        found[video] = file
    return found
