"""`videobert index VIDEOS --checkpoint WORKDIR|EXPORT --output INDEX`: a search index of videos.

VIDEOS are folders or files: videos, whose clip features are extracted here and kept in the index
(the `video` extra), or .npy and .npz of clip features with their contract.json beside them. Each
video is cut into windows of seconds, which `videobert search` finds by a sentence.

Run again, it goes on where it was stopped, embeds what is new or was changed, and keeps the rest.
`videobert index add VIDEOS --index INDEX` adds to an index that must be there, `videobert index
remove FILES --index INDEX` takes files out, `videobert index rebuild --index INDEX` makes what is
searched anew, of another --kind if one is given. A folder of such a name is ./add.
"""

import argparse
import pathlib
from typing import TYPE_CHECKING

from videobert_jax.cli import extract as extract_command
from videobert_jax.cli import model_options

if TYPE_CHECKING:
    from videobert_jax.search_index.building import Report

HELP = "make a search index of videos, extend it, take files out"
_VERBS = ("add", "remove", "rebuild")
_MOST_FAILURES = 20
_MOST_SECONDS = 4 * 3600.0  # longer than any film


class IndexCommandError(ValueError):
    """Arguments that do not go together."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEOS", help="folders and files, or add|remove|rebuild first"
    )
    parser.add_argument(
        "--output",
        "--index",
        dest="index",
        type=pathlib.Path,
        default=model_options.INDEX,
        help=f"folder; default {model_options.INDEX}",
    )
    parser.add_argument(
        "--checkpoint",
        help="WORKDIR, WORKDIR@STEP or an export; default: the one that made the index, of a new "
        f"one {model_options.DEFAULT}",
    )
    parser.add_argument(
        "--window",
        type=float,
        help="seconds of a segment; default: what an example had in training, clips a row by "
        "examples a row",
    )
    parser.add_argument("--hop", type=float, help="seconds between them; default: half a window")
    parser.add_argument(
        "--kind",
        choices=("auto", "exact", "approximate"),
        help="auto, the default, is approximate from 50,000 segments on",
    )
    parser.add_argument(
        "--features", type=pathlib.Path, help="where extracted features are kept; default: in INDEX"
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="drop files that are not there any more, and what stopped runs left behind",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=_MOST_SECONDS,
        help=f"of a video that is extracted; longer ones are left out (default {_MOST_SECONDS:g})",
    )
    extract_command.add_backbone_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 when all is indexed, 1 where some files are left out. Raises SearchIndexError,
    MissingExtra and what the loaders raise."""
    from videobert_jax.search_index import building

    verb = arguments.videos[0] if arguments.videos[0] in _VERBS else None
    paths = arguments.videos[1:] if verb else arguments.videos
    if bool(paths) == (verb == "rebuild"):
        raise IndexCommandError(
            f"{len(paths)} paths behind {verb}; rebuild takes none, all others one or more."
        )
    if verb == "remove":
        return _told(arguments.index, building.remove(arguments.index, paths))
    if verb == "rebuild":
        return _told(arguments.index, building.rebuild(arguments.index, arguments.kind))
    return _told(arguments.index, _update(arguments, paths, must_be_there=verb == "add"))


def _update(arguments: argparse.Namespace, paths: list[str], must_be_there: bool) -> "Report":
    from videobert_jax.cli import search
    from videobert_jax.search_index import building, manifest, windows

    folder = arguments.index
    is_there = (folder / manifest.FILE).exists()
    if must_be_there:
        manifest.read(folder)
    named = arguments.checkpoint or ("" if is_there else model_options.by_default())
    model, checkpoint = search.load_model(folder if is_there else None, named, arguments.platform)
    wanted = None
    if arguments.window is not None or arguments.hop is not None:
        wanted = windows.chosen(model, arguments.window, arguments.hop)
    options = building.Options(
        wanted,
        arguments.kind,
        checkpoint,
        arguments.features,
        arguments.prune,
        arguments.max_seconds,
    )

    def make_extractor():
        from videobert_jax.files import extras

        extras.require("av", "video")
        arguments.stride = model.contract.stride_seconds
        return extract_command.extractor(arguments)

    return building.update(folder, model, paths, make_extractor, options)


def _told(folder: pathlib.Path, report: "Report") -> int:
    from videobert_jax.search_index import building

    counts = {
        "new": report.new,
        "changed": report.changed,
        "unchanged": report.kept,
        "dropped": report.dropped,
        "left out": len(report.failures),
    }
    files = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    kind = f", {report.kind}" if report.kind else ""
    print(f"{folder}: {report.segments:,} segments{kind}; files: {files or 'none'}")
    if report.gone:
        print(f"  {report.gone} indexed files are not there any more; --prune drops them")
    for failure in report.failures[:_MOST_FAILURES]:
        print(f"  left out: {building.told(failure)}")
    if len(report.failures) > _MOST_FAILURES:
        print(f"  and {len(report.failures) - _MOST_FAILURES} more, in {folder / 'index.json'}")
    return 1 if report.failures else 0
