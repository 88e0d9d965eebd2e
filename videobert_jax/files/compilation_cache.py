"""Where compiled programs are kept, so that another process need not compile them again."""

import os
import pathlib
from typing import Any

import jax

_SHORTEST = 0.05  # seconds of compiling, below which a program is not worth a file


def use(folder: pathlib.Path | None = None) -> None:
    """Keeps compiled programs in `folder`, all of them, or in $VIDEOBERT_CACHE/xla, else
    ~/.cache/videobert_jax/xla, those that take a while.

    Without `folder`, where jax has one for them already (JAX_COMPILATION_CACHE_DIR, or its
    configuration), or the user has no home, all stays as it is. On GPUs jax keeps in it what
    autotuning chose, too.
    """
    config: Any = jax.config  # its settings are made at run time
    if folder is not None:
        config.update("jax_compilation_cache_dir", str(folder))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        return
    if config.jax_compilation_cache_dir is not None:
        return
    try:
        root = os.environ.get("VIDEOBERT_CACHE") or pathlib.Path.home() / ".cache/videobert_jax"
    except RuntimeError:  # no home
        return
    config.update("jax_compilation_cache_dir", str(pathlib.Path(root) / "xla"))
    config.update("jax_persistent_cache_min_compile_time_secs", _SHORTEST)
