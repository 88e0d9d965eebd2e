"""`videobert embed FILE... --checkpoint WORKDIR|EXPORT --output VECTORS.npz`: a vector a video.

Vectors have norm 1 in the joint space of video and text: dot products with those of
`model.encode_text` are cosines. A video longer than in training is the mean of its windows.
"""

import argparse
import io
import json
import pathlib

from videobert_jax.cli import model_options

HELP = "write a vector a video (.npz, or JSON)"


class EmbedError(ValueError):
    """Nowhere to write to."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model_options.add_arguments(parser)
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        help=".npz to write: files, as they were given, and vectors, float32 [files, dim]",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when the vectors are there. Raises EmbedError, and what model and files do."""
    if arguments.output is None and not arguments.json:
        raise EmbedError("nowhere to write to; say --output=VECTORS.npz, or --json for stdout.")
    import numpy as np

    from videobert_jax.files import atomic

    vectors = []
    with model_options.opened(arguments) as model:
        for file in arguments.files:
            vectors.append(model.encode_video(file)[0])
            if arguments.json:
                print(json.dumps({"file": file, "vector": vectors[-1].tolist()}))
    if arguments.output is not None:
        buffer = io.BytesIO()
        np.savez(buffer, files=np.array(arguments.files), vectors=np.stack(vectors))
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(arguments.output, buffer.getvalue())
        if not arguments.json:
            print(arguments.output)
    return 0
