"""The forms in which an export holds the encoders: safetensors always, and programs beside it."""

import pathlib
from collections.abc import Sequence

from videobert_jax.export import manifest
from videobert_jax.export.errors import ExportError
from videobert_jax.files import extras
from videobert_jax.models.bundle import ModelBundle

SAFETENSORS, STABLEHLO, ONNX = FORMATS = ("safetensors", "stablehlo", "onnx")
PROGRAMS = (STABLEHLO, ONNX)
_FUNCTIONS = ("encode_video", "encode_text", "encode_pair")


def parse(text: str) -> tuple[str, ...]:
    """Formats of a list with commas between them. Raises ExportError on an unknown one."""
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := [name for name in named if name not in FORMATS]:
        raise ExportError(
            f"--format={text}: {unknown[0]!r} is none of {', '.join(FORMATS)}; say one or several, "
            "with commas between them."
        )
    return named


def files_of(format_name: str) -> tuple[str, ...]:
    """Names of the files that a format of programs adds, its manifest last."""
    programs = (f"{function}.{format_name}" for function in _FUNCTIONS)
    return (*programs, manifest.file_of(format_name))


def require(formats: Sequence[str]) -> None:
    """Raises MissingExtra where a format needs a package that is not installed."""
    if ONNX in formats:
        extras.require("onnx", "onnx")


def write(
    bundle: ModelBundle, folder: pathlib.Path, weights: str, formats: Sequence[str]
) -> tuple[str, ...]:
    """Writes the programs of those `formats` that have some into a folder that holds `weights`; the
    names of the files.

    Raises ExportError where a format cannot hold the network.
    """
    wanted = [name for name in PROGRAMS if name in formats]
    if not wanted:
        return ()
    # Who only loads a model needs none of these.
    from videobert_jax.export import flat, functions, onnx, stablehlo

    programs = [flat.program(bundle, function) for function in functions.of(bundle)]
    writers = {STABLEHLO: stablehlo.write, ONNX: onnx.write}
    for name in wanted:
        about = writers[name](programs, folder / weights)
        manifest.write(bundle, programs, folder, weights, name, about)
    return tuple(file for name in wanted for file in files_of(name))
