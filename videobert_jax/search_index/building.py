"""Makes, extends and shortens an index; stopped at any moment, it goes on where it was.

Each file's vectors are a shard of their own, written atomically and named by the file's path, size
and time of change. What is searched is made of the shards, and the manifest, which names both, is
replaced last: until then the index is what it was before. One process changes an index at a time.
"""

import dataclasses
import math
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from videobert_jax.files import progress
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.inference.model import InputError, PretrainedModel
from videobert_jax.schema import ContractMismatch
from videobert_jax.search_index import manifest as manifests
from videobert_jax.search_index import shards, vectors, windows
from videobert_jax.search_index import sources as finding
from videobert_jax.search_index.errors import FatalMismatch, SearchIndexError
from videobert_jax.search_index.manifest import AUTO, File, Maker, Manifest
from videobert_jax.search_index.sources import Extractor, Features, Paths, Source
from videobert_jax.search_index.windows import Windows
from videobert_jax.video.decode import VideoError

FEATURES_FOLDER = "features"
_OURS = {manifests.FILE, shards.FOLDER, FEATURES_FOLDER}


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run did: numbers of files, segments in the index, and failures {"file", "reason"}.

    kind: of what is searched, "" where there is nothing. Files are new, changed since they were
    indexed, kept as they were, or dropped; gone: indexed ones that are not there any more, and were
    kept.
    """

    segments: int
    kind: str
    failures: tuple[dict[str, str], ...]
    new: int = 0
    changed: int = 0
    kept: int = 0
    dropped: int = 0
    gone: int = 0


@dataclasses.dataclass(frozen=True)
class Options:
    """How files are indexed; None: as the index has it, or the default of a new one.

    windows: of a new index `windows.default`. kind: AUTO, which takes an approximate index from
    `vectors.APPROXIMATE_FROM` segments on. checkpoint: where the model was loaded from, for
    searches to come. features: folder of extracted clip features, default within the index.
    prune: drops files that are not there any more, and what runs that were stopped left behind.
    maximum_seconds: of a video that is extracted, by what it claims; a longer one is left out.
    """

    windows: Windows | None = None
    kind: str | None = None
    checkpoint: str = ""
    features: pathlib.Path | None = None
    prune: bool = False
    maximum_seconds: float = math.inf


def update(
    folder: pathlib.Path,
    model: PretrainedModel,
    paths: Paths,
    make_extractor: Callable[[], Extractor],
    options: Options,
) -> Report:
    """Indexes the videos and features of `paths` in `folder`; what is there and unchanged is kept.

    make_extractor: called when the first video has to be extracted, such as `lambda:
    model.reader.extractor`. options: how, where the defaults are not meant.

    A file that cannot be indexed is told in the report, and one that was indexed before it was
    damaged is dropped. Raises SearchIndexError where the folder holds something else, an index by
    another model or with other windows; FatalMismatch where the extractor does not fit the model;
    MissingExtra.
    """
    vectors.faiss()
    before = _opened(folder, model, options)
    found = finding.find(paths, folder)
    old = {file.path: file for file in before.files}
    kept = options.features or folder / FEATURES_FOLDER
    features = Features(kept, before.maker.contract, make_extractor, options.maximum_seconds)
    embedding = _Embedding(folder, model, before, features)
    waiting = [source for source in found if not _is_indexed(folder, source, old)]
    _say(f"{len(found)} files: {len(found) - len(waiting)} are indexed, {len(waiting)} to embed")
    clips, failures = embedding.all(waiting)
    embedded = [source for source in waiting if source.path in clips]
    missing = {path for path in old if not os.path.exists(path)}
    leaving = {source.path for source in waiting} | (missing if options.prune else set())
    files = [file for file in before.files if file.path not in leaving]
    for number, source in enumerate(embedded, start=before.next_number):
        count = clips[source.path]
        segments = before.windows.count(count)
        files.append(File(number, source.path, source.key, count, segments))
    after = dataclasses.replace(
        before,
        files=tuple(files),
        kind=options.kind or before.kind,
        next_number=before.next_number + len(embedded),
        failures=tuple(failures),
    )
    after = _commit(folder, before, after)
    if options.prune:
        _remove_unnamed(folder, after)
    changed = sum(source.path in old for source in embedded)
    return _report(
        after,
        new=len(embedded) - changed,
        changed=changed,
        kept=len(found) - len(waiting),
        dropped=len(leaving & set(old)) - changed,
        gone=0 if options.prune else len(missing),
    )


def remove(folder: pathlib.Path, paths: Paths) -> Report:
    """Takes `paths`, files or all files below folders, out of the index in `folder`; they need not
    be there any more.

    Raises SearchIndexError where a path is not indexed, and as `manifest.read` does.
    """
    before = manifests.read(folder)
    leaving: set[str] = set()
    for path in (os.path.abspath(path) for path in paths):
        below = {
            file.path
            for file in before.files
            if file.path == path or file.path.startswith(path + os.sep)
        }
        if not below:
            raise SearchIndexError(
                f"{path} is not in {folder}; it has {len(before.files)} files, such as "
                f"{', '.join(file.path for file in before.files[:2]) or 'none'}."
            )
        leaving |= below
    files = tuple(file for file in before.files if file.path not in leaving)
    after = _commit(folder, before, dataclasses.replace(before, files=files))
    return _report(after, kept=len(files), dropped=len(leaving))


def rebuild(folder: pathlib.Path, kind: str | None = None) -> Report:
    """Makes what is searched in `folder` anew from the shards, of another kind if one is given.

    Raises SearchIndexError where a shard is damaged, and as `manifest.read` does.
    """
    before = manifests.read(folder)
    wanted = dataclasses.replace(before, kind=kind or before.kind, vectors=None)
    after = _commit(folder, before, wanted)
    return _report(after, kept=len(after.files))


class _Embedding:
    """From files to shards."""

    def __init__(
        self, folder: pathlib.Path, model: PretrainedModel, found: Manifest, features: Features
    ):
        self._folder, self._model = folder, model
        self._manifest, self._features = found, features

    def all(self, sources: Sequence[Source]) -> tuple[dict[str, int], list[dict[str, str]]]:
        """({path: number of clips} of the sources that have a shard now, failures)."""
        shown = progress.Progress("files", len(sources))
        clips: dict[str, int] = {}
        failures: list[dict[str, str]] = []
        for source in sources:
            try:
                clips[source.path] = self._one(source)
            except FatalMismatch:
                raise
            except (
                ArrayFileError,
                ContractMismatch,
                InputError,
                MemoryError,
                OSError,
                SearchIndexError,
                VideoError,
            ) as error:
                if isinstance(error, OSError) and not _is_of(error, source):
                    raise  # of the index's disk, not of the video
                failures.append({"file": source.path, "reason": str(error)})
                _say(f"left out: {told(failures[-1])}")
            shown.step()
        return clips, failures

    def _one(self, source: Source) -> int:
        """Number of clips of a source, whose shard is there afterwards."""
        cut, about = self._manifest.windows, self._manifest.about
        if shards.path_of(self._folder, source.key).exists():
            try:
                return shards.read(self._folder, source.key, about)[1]
            except SearchIndexError as error:
                _say(f"embedded anew: {error}")
        features = self._features.of(source)
        embedded = self._model.encode_video(cut.cut(features))
        if not np.isfinite(embedded).all():
            raise SearchIndexError(f"{source.path}: the model gives NaN or infinite vectors.")
        stored = embedded.astype(np.float16)
        shards.write(self._folder, source.key, stored, len(features), about)
        return len(features)


def _opened(folder: pathlib.Path, model: PretrainedModel, options: Options) -> Manifest:
    """The index's manifest; that of a new one is written, so that a run that goes on after a stop
    has the same model and windows."""
    maker = Maker.of(model, options.checkpoint)
    if not (folder / manifests.FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        others = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - _OURS
        others = {name for name in others if not name.endswith(vectors.SUFFIX)}
        if others:
            raise SearchIndexError(
                f"{folder} holds other files ({', '.join(sorted(others)[:3])}) and no index; give "
                "an empty folder, or one that is not there yet."
            )
        kind = options.kind or AUTO
        made = Manifest(maker, options.windows or windows.default(model), kind, (), None, 0, ())
        manifests.write(folder, made)
        return made
    found = manifests.read(folder)
    found.require_maker(model, folder)
    if options.windows not in (None, found.windows):
        raise SearchIndexError(
            f"{folder} has windows of {found.windows.clips} clips every {found.windows.hop}, asked "
            f"for are {options.windows.clips} every {options.windows.hop}; leave --window and "
            "--hop out, or index the videos into another folder."
        )
    return found


def _is_indexed(folder: pathlib.Path, source: Source, old: dict[str, File]) -> bool:
    file = old.get(source.path)
    is_same = file is not None and file.key == source.key
    return is_same and shards.path_of(folder, source.key).exists()


def _commit(folder: pathlib.Path, before: Manifest, after: Manifest) -> Manifest:
    """The manifest that is written when what is searched has the files of `after`."""
    known = set(before.files)
    new = [file for file in after.files if file not in known]
    gone = sorted(known - set(after.files), key=lambda file: file.number)
    kind = after.kind
    if kind == AUTO:
        is_small = after.num_windows < vectors.APPROXIMATE_FROM
        kind = manifests.EXACT if is_small else manifests.APPROXIMATE
    found = after.vectors
    if not after.files:
        found = None
    elif new or gone or found is None or found.kind != kind:
        _say(f"building: {after.num_windows:,} segments, {kind}")
        found = vectors.write(folder, _built(folder, before, after, kind, gone, new))
    after = dataclasses.replace(after, vectors=found)
    if manifests.read(folder).files != before.files:
        raise SearchIndexError(
            f"{folder} was changed by another process meanwhile; run this again: vectors that are "
            "there already are taken over."
        )
    if after != before:
        manifests.write(folder, after)
    _sweep(folder, after, gone)
    return after


def _built(
    folder: pathlib.Path,
    before: Manifest,
    after: Manifest,
    kind: str,
    gone: Sequence[File],
    new: Sequence[File],
) -> vectors.Built:
    def parts(files: Sequence[File]) -> list[vectors.Part]:
        return [
            vectors.Part(file.number, file.windows, _loader(folder, file, after.about))
            for file in files
        ]

    if after.vectors is not None and vectors.may_change(after.vectors, kind, after.num_windows):
        return vectors.change(folder / after.vectors.file, after.vectors, parts(gone), parts(new))
    return vectors.build(kind, parts(after.files), after.maker.dim)


def _loader(folder: pathlib.Path, file: File, about: str) -> Callable[[], np.ndarray]:
    return lambda: shards.read(folder, file.key, about)[0]


def _sweep(folder: pathlib.Path, after: Manifest, gone: Sequence[File]) -> None:
    """Removes what the index had of files that are gone, and vectors that it does not name."""
    name = after.vectors.file if after.vectors else None
    for path in [*folder.glob(f"*{vectors.SUFFIX}"), *folder.glob(".*.tmp")]:
        if path.name != name:
            path.unlink()
    keys = {file.key for file in after.files}
    for file in gone:
        if file.key not in keys:
            shards.path_of(folder, file.key).unlink(missing_ok=True)
            (folder / FEATURES_FOLDER / f"{file.key}.npy").unlink(missing_ok=True)


def _remove_unnamed(folder: pathlib.Path, found: Manifest) -> None:
    """Removes shards and features of files, or of states of files, that the index does not have."""
    keys = {file.key for file in found.files}
    for path in [*(folder / shards.FOLDER).glob("*"), *(folder / FEATURES_FOLDER).glob("*")]:
        if path.stem not in keys and path.name != finding.CONTRACT_FILE:
            path.unlink()


def _report(after: Manifest, **counts: int) -> Report:
    kind = after.vectors.kind if after.vectors else ""
    return Report(after.num_windows, kind, after.failures, **counts)


def told(failure: Mapping[str, str]) -> str:
    """The file of a failure once, and the reason."""
    file, reason = failure["file"], failure["reason"]
    return reason if reason.startswith(file) else f"{file}: {reason}"


def _is_of(error: OSError, source: Source) -> bool:
    return error.filename in (source.path, source.features)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
