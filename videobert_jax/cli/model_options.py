"""Options of the commands that use a trained model, and the model that they name."""

import argparse
import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from videobert_jax.models.config import WEIGHTS

if TYPE_CHECKING:
    from videobert_jax.inference.model import PretrainedModel

INDEX = pathlib.Path("runs/index")  # that `videobert index` makes, where no other is named
VARIABLE = "VIDEOBERT_CHECKPOINT"
_WORKDIR = "runs/kitchen"  # of `make pretrain`
DEFAULT = f"${VARIABLE}, else {_WORKDIR}"


class NoModelError(ValueError):
    """No model is named, and that of `make pretrain` is not there."""


def by_default() -> str:
    """The model where no --checkpoint names one, which is said. Raises NoModelError."""
    name = os.environ.get(VARIABLE, "")
    if not name and not pathlib.Path(_WORKDIR).is_dir():
        raise NoModelError(
            f"no model is named, and {_WORKDIR} is not there; give --checkpoint=CHECKPOINT, set "
            f"{VARIABLE}, or say `make pretrain` first."
        )
    print(f"model: {name or _WORKDIR} (--checkpoint names another)", file=sys.stderr)
    return name or _WORKDIR


def add_arguments(parser: argparse.ArgumentParser, files: str = "+") -> None:
    """What every command says of its files, whose number argparse takes as `files`, and model."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs=files,
        help="video, or .npy or .npz of clip features with their contract.json beside it",
    )
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def add_model_arguments(parser: argparse.ArgumentParser, max_seconds: float = 3600.0) -> None:
    """What every command says of its model."""
    parser.add_argument(
        "--checkpoint",
        help="WORKDIR, WORKDIR@STEP, WORKDIR@best, the folder of an export, or ORG/NAME, a "
        f"repository of huggingface.co; default {DEFAULT}",
    )
    add_weights_argument(parser)
    parser.add_argument(
        "--backbone-weights",
        type=pathlib.Path,
        metavar="FILE",
        help="published weights of the network that the model's clip features come from, as "
        "`extract --weights` takes them; I3D's are brought by the kitchen extra",
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=max_seconds,
        help=f"of a video that is extracted; longer ones are refused (default {max_seconds:g})",
    )
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )


def add_truncate(parser: argparse.ArgumentParser) -> None:
    """Of the commands that read text."""
    parser.add_argument(
        "--truncate", action="store_true", help="cut texts that are longer than in training"
    )


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator["PretrainedModel"]:
    """The model of the arguments; what it warns of is said in a line on stderr.

    Raises what `videobert_jax.load` does, NoModelError and HardwareError.
    """
    import videobert_jax
    from videobert_jax.inference import inputs
    from videobert_jax.training import hardware

    with inputs.warned(lambda text: print(f"warning: {text}", file=sys.stderr)):
        print(hardware.start(arguments.platform), file=sys.stderr)
        yield videobert_jax.load(
            arguments.checkpoint or by_default(),
            weights=arguments.weights,
            backbone_weights=arguments.backbone_weights,
            maximum_seconds=arguments.max_seconds,
        )


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Which weights of a run are meant."""
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        help="ema: the moving average of a run with optimizer.ema_decay, default where there is "
        "one; raw: the weights as they are",
    )
