"""What a name of a trained model means: an export's folder, a run's checkpoint, a repository.

A repository is one of huggingface.co that holds the files of an export; its files are kept where
`huggingface_hub` keeps them, and verified like any other export's.
"""

import re

from videobert_jax.export import safetensors
from videobert_jax.files import extras, storage
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import checkpoint_name

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = (
    safetensors.CONFIG_FILE,
    safetensors.WEIGHTS_FILE,
    safetensors.TOKENIZER_FILE,
    safetensors.CONTRACT_FILE,
)


class LoadError(ValueError):
    """A name that no trained model has."""


def load_bundle(
    name: str,
    weights: str | None = None,
    *,
    revision: str | None = None,
    extra_heads: bool = False,
) -> ModelBundle:
    """The network of WORKDIR, WORKDIR@STEP, WORKDIR@best, an export's folder, or ORG/NAME, a
    repository of huggingface.co, where no folder is called so.

    weights: RAW or EMA; None takes the moving average where there is one. revision: branch, tag or
    commit of the repository. extra_heads: with those of other packages, which a workdir may have
    and an export has not. Raises LoadError where it is none of these or an export has other
    weights, MissingExtra without huggingface_hub, and what the loaders raise.
    """
    folder = storage.path(checkpoint_name.split(name)[0])
    storage.require_readable(folder)
    if not folder.exists() and _REPOSITORY.fullmatch(name):
        folder = storage.path(_fetch(name, revision))
    elif revision is not None:
        raise LoadError(f"{name}: a folder, which has no revision {revision!r}; say ORG/NAME.")
    if (folder / "checkpoints").is_dir():
        from videobert_jax.training import (
            checkpoint_bundle,
        )  # brings orbax, which an export needs not

        return checkpoint_bundle.load(name, weights, extra_heads=extra_heads)
    if any(folder.glob("*.safetensors")) or (folder / safetensors.CONFIG_FILE).is_file():
        bundle = safetensors.load_bundle(folder)
        if weights not in (None, bundle.weights):
            raise LoadError(
                f"weights={weights}: {name} is an export of the {bundle.weights} weights; take "
                "those, or the run's workdir."
            )
        return bundle
    raise LoadError(
        f"{name}: expected a workdir (with checkpoints/), WORKDIR@STEP, or an export (with "
        f"*.safetensors); found {'neither in this folder' if folder.is_dir() else 'no folder'}."
    )


def _fetch(name: str, revision: str | None) -> str:
    """Folder of a repository's files."""
    try:
        hub = extras.require("huggingface_hub", "hub")
    except extras.MissingExtra as error:
        raise extras.MissingExtra(
            f"{name}: no folder of this name; to fetch a repository of it, {error}"
        ) from error
    try:
        return hub.snapshot_download(name, revision=revision, allow_patterns=list(_FILES))
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise LoadError(
            f"{name}: no folder of this name, and no repository that can be fetched "
            f"({type(error).__name__}: {first}); give a folder that is there, or see to the name "
            "and the connection."
        ) from error
