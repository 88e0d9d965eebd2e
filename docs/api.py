"""`python -m docs.api FOLDER` (`make docs`): pages of the API, from docstrings and signatures.

A page a module: what applications call, and what extensions are given and give (extending.md).
"""

import pathlib
import sys

import videobert_jax

PAGES = (
    "videobert_jax",
    "videobert_jax.loading",
    "videobert_jax.inference.answers",
    "videobert_jax.inference.attention_maps",
    "videobert_jax.inference.captions",
    "videobert_jax.inference.inputs",
    "videobert_jax.inference.localization",
    "videobert_jax.inference.model",
    "videobert_jax.inference.network",
    "videobert_jax.inference.search",
    "videobert_jax.inference.windows",
    "videobert_jax.search_index",
    "videobert_jax.search_index.building",
    "videobert_jax.search_index.errors",
    "videobert_jax.search_index.index",
    "videobert_jax.search_index.moments",
    "videobert_jax.search_index.windows",
    "videobert_jax.export.errors",
    "videobert_jax.files.extras",
    "videobert_jax.schema",
    "videobert_jax.data.datasets.annotated",
    "videobert_jax.data.index",
    "videobert_jax.data.segments",
    "videobert_jax.data.writer",
    "videobert_jax.objectives.passes",
    "videobert_jax.tasks.context",
    "videobert_jax.tasks.report",
    "videobert_jax.tasks.trained_heads",
    "videobert_jax.video.clips",
    "videobert_jax.video.extract",
)


def main(folder: str) -> None:
    import pdoc  # of requirements-docs.txt; the list above is for tests, too

    for name in videobert_jax.__all__:  # else imported when asked for, and pdoc does not ask
        vars(videobert_jax)[name] = getattr(videobert_jax, name)
    others = r"!videobert_jax\..*"  # of a package, no pages of its other modules
    pdoc.pdoc(PAGES[0], others, *PAGES[1:], output_directory=pathlib.Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
