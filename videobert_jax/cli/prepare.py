"""`videobert prepare NAME --output DIR`: a dataset on disk from a source of input.

What ships with the package or lies in one folder needs --source alone. A dataset of the field is
made of its published annotations and of clip features by anybody (docs/datasets.md):

    prepare youcook2 --annotations FILE --features PATH --layout univl_pickle --output DIR

Many processes, or any engine of Apache Beam, write its parts with --workers or --beam; --output
may then be a URL (docs/scale.md). One's own videos become a dataset in one command, their features
extracted on the way:

    prepare videos --videos DIR --transcripts DIR --backbone i3d_kinetics --output DIR

NAME may be package.module, a dataset of another package (docs/extending.md).
"""

import argparse
import dataclasses
import functools
import importlib
import pathlib
import shlex
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from videobert_jax import extensions, schema
from videobert_jax.cli import extract, features_options, prepared_before, transcripts
from videobert_jax.data import importers, index, transcript_files, video_ids, writer
from videobert_jax.data.datasets import annotated, evaluated_ids, narration, videos
from videobert_jax.files import extras

HELP = "write a dataset: clip features, caption index, contract, digests"
DATASETS = {  # made of a folder of their own
    "kitchen": "videobert_jax.kitchen.dataset",
    "kitchen_captions": "videobert_jax.kitchen.captions",
    "kitchen_qa": "videobert_jax.kitchen.question_dataset",
    "youcook2_keyframes": "videobert_jax.data.datasets.youcook2_keyframes",
    "activitynet_sample": "videobert_jax.data.datasets.activitynet_sample",
}
# Made of annotations and features: the options that each takes beside --annotations.
ANNOTATED: dict[str, tuple[str, ...]] = {
    "youcook2": ("retrieval_csv",),
    "activitynet_captions": (),
    "crosstask": ("fold",),
    "coin": ("taxonomy",),
    "hirest": (),
    "msrvtt": ("test_csv", "training"),
    "msrvtt_qa": (),
    "msrvtt_multiple_choice": (),
    "how2qa": ("video_mapping",),
    "howto100m": ("video_csv",),
}
NAMES = sorted([*DATASETS, *ANNOTATED, "videos"])
# What the module of a dataset of another package offers: with `read` it is made of annotations and
# features, with `prepare` of a folder of its own.
MODULE_NAMES = ("NAME",)
_MANY_FILES = ("activitynet_captions", "hirest", "msrvtt_qa", "how2qa")
_OWN = ("annotations", *dict.fromkeys(name for own in ANNOTATED.values() for name in own))
# What a dataset is made of; other options say how it is written.
_ASKED = (
    *(*_OWN, "features", "transcripts", "evaluation_ids", "keep_overlap", "allow_missing"),
    *("videos", "validation_fraction", "backbone"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        type=_name,
        metavar="NAME",
        help=f"one of {', '.join(NAMES)}, or a package.module of your own",
    )
    parser.add_argument(
        "--source", type=pathlib.Path, help="folder with the source files (not for kitchen)"
    )
    parser.add_argument(
        "--output", type=_output, required=True, help="folder to write; with Beam also a URL"
    )
    field = parser.add_argument_group("datasets of the field")
    field.add_argument("--annotations", type=pathlib.Path, nargs="+", help="their published files")
    field.add_argument(
        "--retrieval-csv", type=pathlib.Path, help="YouCook II's clips of a retrieval protocol"
    )
    field.add_argument("--taxonomy", type=pathlib.Path, help="COIN's taxonomy.xlsx")
    field.add_argument(
        "--fold", type=int, help="CrossTask's: 30 videos of each task for training, by this draw"
    )
    field.add_argument("--video-csv", type=pathlib.Path, help="HowTo100M_v1.csv: the videos' tasks")
    field.add_argument(
        "--video-mapping", type=pathlib.Path, help="VALUE's how2_vid_mapping.json, for How2QA"
    )
    field.add_argument("--test-csv", type=pathlib.Path, help="MSR-VTT's 1k-A test")
    field.add_argument("--training", choices=["7k", "9k", "full"], help="MSR-VTT's training split")
    features_options.add_arguments(parser)
    parser.add_argument(
        "--transcripts",
        type=pathlib.Path,
        help="what is said: a folder of VIDEO.vtt, .srt, .json; of a dataset of the field, it is "
        "the split train_narration, of evaluated videos validation_narration and so on, and may be "
        "one file of many videos",
    )
    _add_own_videos(parser)
    field.add_argument(
        "--allow-missing",
        action="store_true",
        help="build without absent features; results then say how many examples are missing",
    )
    field.add_argument(
        "--evaluation-ids",
        type=pathlib.Path,
        nargs="+",
        default=[],
        help="what else is evaluated: annotation files, prepared datasets, lists of video ids; "
        "their videos are left out of training splits",
    )
    field.add_argument(
        "--keep-overlap", action="store_true", help="train on evaluated videos all the same"
    )
    field.add_argument("--workers", type=int, help="write parts with so many processes (Beam)")
    field.add_argument(
        "--beam",
        metavar='"--runner=... --project=..."',
        help="write parts by an engine of Apache Beam with these options",
    )


def _add_own_videos(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group("videos of one's own")
    own.add_argument("--videos", type=pathlib.Path, help="folder, or list with a path a line")
    own.add_argument(
        "--validation-fraction", type=float, default=0.0, help="of the videos, kept for validation"
    )
    transcripts.add_options(own)
    extract.add_backbone_arguments(own)


def run(arguments: argparse.Namespace) -> int:
    """0 when the dataset is complete, also where it was before. Raises DatasetError."""
    output = arguments.output
    name = _module(arguments.name).NAME if _is_own(arguments) else arguments.name
    if isinstance(output, str):
        return _prepare_at_url(arguments)
    is_complete = (output / index.DATASET_FILE).is_file()
    if not is_complete:
        started = time.monotonic()
        try:
            _prepare(arguments)
        except KeyboardInterrupt:
            if (output / "partial").is_dir():
                text = "finished parts are kept: the same command goes on from there"
                print(f"{output}: {text}", file=sys.stderr)
            raise
        print(f"{output} written in {time.monotonic() - started:.1f} s")
    dataset = index.open_dataset(output)
    if dataset.name != name:
        raise index.DatasetError(
            f"{output}: holds the dataset {dataset.name}, expected {name} or nothing; give "
            "another --output"
        )
    if is_complete:
        prepared_before.require_alike(output, dataset, arguments, _ASKED)
        print(f"{output} is complete already; nothing to do")
    for split in dataset.splits.values():
        protocol = dataset.metadata.get("protocols", {}).get(split.name)
        print(
            f"  {split.name}: {len(split):,} examples, {len(split.videos):,} videos, "
            f"{int(split.num_clips.sum()):,} clip features" + (f", {protocol}" if protocol else "")
        )
    print(f"  {dataset.name}, digest {dataset.digest}")
    return 0


def _output(text: str) -> pathlib.Path | str:
    return text if "://" in text else pathlib.Path(text)


def _prepare_at_url(arguments: argparse.Namespace) -> int:
    if not _is_annotated(arguments) or not (arguments.workers or arguments.beam):
        raise index.DatasetError(
            f"--output={arguments.output}: only Beam writes to URLs, and only datasets of the "
            "field; say --workers=N or --beam, or write to a folder and copy it"
        )
    started = time.monotonic()
    _prepare(arguments)
    print(
        f"{arguments.output} written in {time.monotonic() - started:.1f} s; train on it with "
        f"--config.data.path={arguments.output} --config.data.local_copy=DIR"
    )
    return 0


def _prepare(arguments: argparse.Namespace) -> index.Dataset | None:
    name, source = arguments.name, arguments.source
    options = (*_OWN, "features", "layout")
    given = [option for option in options if getattr(arguments, option) is not None]
    if name == "videos":
        return _own_videos(arguments, given)
    if _is_annotated(arguments):
        if source is not None:
            raise index.DatasetError(
                f"--source={source}: {name} is made of --annotations and --features; leave "
                "--source out"
            )
        return _annotated(arguments, given)
    if given:
        raise index.DatasetError(
            f"{name} takes none of {', '.join(prepared_before.option(option) for option in given)}"
        )
    if _is_own(arguments):
        return _module(name).prepare(source, arguments.output)
    module = importlib.import_module(DATASETS[name])
    if name not in schema.EMBEDDED:
        return module.prepare(source, arguments.output)
    if source is not None:
        raise index.DatasetError(
            f"--source={source}: {name} is made from what the package brings; leave --source out"
        )
    return module.prepare(arguments.output)


def _name(text: str) -> str:
    if text not in NAMES and not extensions.is_path(text):
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(NAMES)}, or name a package.module)"
        )
    return text


def _is_own(arguments: argparse.Namespace) -> bool:
    """Whether the dataset is another package's."""
    return extensions.is_path(arguments.name)


def _is_annotated(arguments: argparse.Namespace) -> bool:
    """Whether it is made of annotations and features."""
    if _is_own(arguments):
        return hasattr(_module(arguments.name), "read")
    return arguments.name in ANNOTATED


def _module(name: str) -> types.ModuleType:
    """The module of another package's dataset. Raises ExtensionError."""
    module = extensions.load(name, MODULE_NAMES, "prepare NAME")
    if not hasattr(module, "read"):
        extensions.require(module, ("prepare",), f"prepare {name}, which has no read either")
    return module


def _own_videos(arguments: argparse.Namespace, given: list[str]) -> index.Dataset:
    """What is said first, into OUTPUT.transcripts, then features, into OUTPUT.features: a stopped
    run finds both again."""
    if given or arguments.source or arguments.videos is None:
        raise index.DatasetError(
            "videos takes --videos DIR, --transcripts DIR and --backbone; of features that are "
            "there already make a dataset of the field, or import them"
        )
    if not 0.0 <= (fraction := arguments.validation_fraction) < 1.0:
        raise index.DatasetError(f"--validation-fraction {fraction}: expected 0 or more, below 1")
    extras.require("av", "video")
    from videobert_jax.video import corpus

    found = corpus.find(arguments.videos)
    said: dict[str, pathlib.Path] = {}
    if arguments.transcripts is not None:
        files = transcript_files.folder_files(arguments.transcripts)
        said = transcript_files.files_by_video(files)
    told = _make_transcripts(arguments, found, said)
    folder = arguments.output.with_name(arguments.output.name + ".features")
    failures = corpus.extract_corpus(extract.extractor(arguments), found, folder, stills=False)
    source = importers.open_source("npy", folder)
    wanted = {video_ids.canonical(video.name) for video in found}
    kept = {name: read for name, read in source.videos.items() if name in wanted}
    return videos.write(
        dataclasses.replace(source, videos=kept),
        said,
        arguments.output,
        arguments.validation_fraction,
        [*told, *failures],
        prepared_before.asked(arguments, _ASKED),
    )


def _make_transcripts(
    arguments: argparse.Namespace, found: list[pathlib.Path], said: dict[str, pathlib.Path]
) -> list[dict[str, Any]]:
    """Failures; adds to `said` the transcripts of videos that have no file of one."""
    from videobert_jax.text.transcripts import sentence_folder
    from videobert_jax.video import corpus

    films = {
        video_ids.canonical(path.name): path
        for path in found
        if path.suffix.lower() not in corpus.PICTURES
    }
    without = {video: path for video, path in films.items() if video not in said}
    folder = sentence_folder.SentenceFolder(
        arguments.output.with_name(arguments.output.name + ".transcripts")
    )
    silent = transcripts.fill(folder, without, arguments)
    made = {video: folder.path(video) for video in without if folder.has(video)}
    said |= made
    print(f"{len(made)} transcripts of the videos' own, {len(silent)} videos without one")
    return folder.failures()


def _annotated(arguments: argparse.Namespace, given: list[str]) -> index.Dataset | None:
    name, files = arguments.name, arguments.annotations or []
    takes = ("annotations", "features", "layout", *ANNOTATED.get(name, ()))
    if strange := [option for option in given if option not in takes]:
        raise index.DatasetError(
            f"{name} does not take {', '.join(map(prepared_before.option, strange))}"
        )
    if not files and not (name == "msrvtt" and arguments.test_csv):
        raise index.DatasetError(f"{name} needs --annotations FILE, as it was published")
    if len(files) > 1 and name in ANNOTATED and name not in _MANY_FILES:
        raise index.DatasetError(f"{name} takes one file of --annotations, {len(files)} given")
    may_be_folders = name == "crosstask" or _is_own(arguments)
    if missing := [
        str(file) for file in files if not (file.is_file() or (may_be_folders and file.is_dir()))
    ]:
        raise index.DatasetError(f"{', '.join(missing)}: not there; give --annotations FILE")
    corpus = _corpus(arguments, files)
    choices = annotated.Choices(
        evaluated_ids.read(arguments.evaluation_ids),
        arguments.keep_overlap,
        arguments.allow_missing,
        prepared_before.asked(arguments, _ASKED),
    )
    if arguments.transcripts is not None:
        narration.add_splits(corpus, arguments.transcripts)
    open_source = features_options.source_opener(arguments)
    new_writer = _writer(arguments, open_source)
    return annotated.write(corpus, open_source(), arguments.output, choices, new_writer)


def _writer(
    arguments: argparse.Namespace, open_source: Callable[[], importers.FeatureSource]
) -> annotated.NewWriter:
    """This process alone, or an engine of Beam's: the bytes are the same."""
    if arguments.workers is None and arguments.beam is None:
        return writer.DatasetWriter
    if arguments.workers is not None and arguments.workers < 1:
        raise index.DatasetError(f"--workers={arguments.workers}: expected 1 or more")
    extras.require("apache_beam", "beam")
    from videobert_jax.data.distributed import pipeline
    from videobert_jax.data.distributed.writer import DistributedWriter

    given = shlex.split(arguments.beam or "")
    options = pipeline.options(given, arguments.workers)
    return functools.partial(DistributedWriter, open_source=open_source, beam_options=options)


def _corpus(arguments: argparse.Namespace, files: list[pathlib.Path]) -> annotated.Corpus:
    """By a module's `read` of its annotations and the options that are given."""
    name = arguments.name
    if _is_own(arguments):
        return _module(name).read(files)
    read = importlib.import_module(f"videobert_jax.data.datasets.{name}").read
    given = {option: getattr(arguments, option) for option in ANNOTATED[name]}
    given = {option: value for option, value in given.items() if value is not None}
    paths = {option: path for option, path in given.items() if isinstance(path, pathlib.Path)}
    if missing := [
        f"{prepared_before.option(o)}={path}" for o, path in paths.items() if not path.is_file()
    ]:
        raise index.DatasetError(f"{', '.join(missing)}: no such file; give the published one")
    return read(files if name in _MANY_FILES else files[0] if files else None, **given)
