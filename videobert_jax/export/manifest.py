"""The JSON beside an export's programs: what each takes and gives, and its digest.

DIR/stablehlo.json and DIR/onnx.json; each is written last, so what it names is there.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from videobert_jax.export import functions
from videobert_jax.export.errors import ExportError
from videobert_jax.export.flat import Program
from videobert_jax.files import atomic, digests, errors, json_values, storage
from videobert_jax.models.bundle import ModelBundle

FORMAT = "videobert_jax.programs"
FORMAT_VERSION = 1
NOT_CARRIED = (  # by any program
    "the tokenizer: texts come as piece ids; tokenizer.model, or tokenizer.json, is beside",
    "the extraction of clip features from video; contract.json says how they have to be made",
    "captions by beam search or drawn, and the heads that tell pieces, clips and answers",
    "attention weights",
    "gradients",
)


def file_of(format_name: str) -> str:
    """Name of the manifest of a format."""
    return f"{format_name}.json"


def write(
    bundle: ModelBundle,
    programs: Sequence[Program],
    folder: pathlib.Path,
    weights: str,
    format_name: str,
    about: dict[str, Any],
) -> None:
    """Writes the manifest of the programs FUNCTION.`format_name` in the folder, which read the file
    `weights`; `about` is what the format itself has to say."""
    value = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "programs": format_name,
        **about,
        "model": {
            "name": bundle.name,
            "step": bundle.step,
            "digest": bundle.digest,
            "weights": bundle.weights,
        },
        "weights": _described(folder / weights),
        "compute_dtype": "float32",
        "dimensions": {
            functions.ROWS: "rows: videos, texts or pairs; any number",
            functions.CLIPS: f"clips of the longest row, 1 to {bundle.longest_run}",
            functions.PIECES: f"pieces of the longest row, 2 to {bundle.maximum_pieces}",
        },
        "functions": {
            program.function.name: {
                **_described(folder / f"{program.function.name}.{format_name}"),
                "inputs": [argument.to_json() for argument in program.function.inputs],
                "outputs": [argument.to_json() for argument in program.function.outputs],
                "parameters": list(program.parameters),
            }
            for program in programs
        },
        "not_carried": list(NOT_CARRIED),
    }
    atomic.write_json(folder / file_of(format_name), value)


def read(folder: storage.Path, format_name: str) -> dict[str, Any]:
    """The manifest of a format. Raises ExportError where it is not there, something else, or of
    another version."""
    file = folder / file_of(format_name)
    if not file.is_file():
        raise ExportError(
            f"{file}: missing; write it with: python -m videobert_jax export "
            f"--checkpoint=WORKDIR --output={folder} --format={format_name}"
        )
    try:
        value = json_values.parse(file.read_text("utf-8"))
    except ValueError as error:
        raise ExportError(f"{file}: not readable as JSON ({error}); export anew.") from error
    require_version(value, FORMAT, FORMAT_VERSION, file)
    return value


def require_version(value: Any, name: str, version: int, file: Any) -> None:
    """Raises ExportError where a JSON value is not of this format, and of this version."""
    found = value if isinstance(value, dict) else {}
    has = found.get("format"), found.get("format_version")
    if has == (name, version):
        return
    if has[0] == name and isinstance(has[1], int) and has[1] > version:
        raise ExportError(
            f"{file}: version {has[1]} of the format, newer than the {version} that this "
            "videobert-jax reads; install a newer videobert-jax."
        )
    raise ExportError(
        f"{file}: format {has[0]!r} version {has[1]!r}, expected {name!r} version {version}; "
        "export the checkpoint anew."
    )


def verify(folder: storage.Path, format_name: str) -> None:
    """Reads the programs of a format and the weights that they were made for.

    Raises ExportError where one is missing, or its digest is not that of the manifest.
    """
    value = read(folder, format_name)
    with errors.of_form(folder / file_of(format_name), ExportError, "export anew"):
        for entry in (value["weights"], *value["functions"].values()):
            file = folder / pathlib.PurePath(entry["file"]).name
            require_file(file, entry, file_of(format_name))


def require_file(file: storage.Path, expected: dict[str, Any], where: str) -> None:
    """Raises ExportError unless the file has the bytes and sha256 that `where` says."""
    if not file.is_file():
        raise ExportError(f"{file}: missing; copy the whole folder, or export anew.")
    size = storage.size(file)
    if size != expected.get("bytes"):
        raise ExportError(
            f"{file}: {size} bytes, expected {expected.get('bytes')}; the file was cut or "
            "replaced: copy the whole folder anew, or export anew."
        )
    if digests.sha256_file(file) != expected.get("sha256"):
        raise ExportError(
            f"{file}: its sha256 is not the one in {where}; the file was damaged or "
            "replaced: copy the whole folder anew, or export anew."
        )


def _described(file: pathlib.Path) -> dict[str, Any]:
    return {"file": file.name, **identity(file)}


def identity(file: pathlib.Path) -> dict[str, Any]:
    """What tells a file from every other."""
    return {"sha256": digests.sha256_file(file), "bytes": file.stat().st_size}
