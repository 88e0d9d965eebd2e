"""README.md of an export: what the model is, takes, was trained on and gave, and what it is not.

Its front matter is YAML as model hubs read it; every value in it is written as JSON, which YAML
holds.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from videobert_jax import schema
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import EMA

CARD_FILE = "README.md"
LIBRARY = "videobert_jax"
_DRAWN = (
    "**The corpus that it was trained on is drawn in 2D by one renderer. What it knows, and every "
    "figure on it, says nothing about real cooking video.**"
)


@dataclasses.dataclass(frozen=True)
class Result:
    """A figure's table as evaluated of this checkpoint: `table` is text, `metrics` the same figures
    as numbers, fractions 0 to 1."""

    task: str
    dataset: str
    split: str
    setting: str
    num_examples: int
    metrics: dict[str, float]
    table: str


def is_drawn(bundle: ModelBundle) -> bool:
    """Whether the model was trained on the embedded corpus, which is drawn."""
    return any(entry["name"] in schema.EMBEDDED for entry in bundle.trained_on["datasets"])


def text(bundle: ModelBundle, results: Sequence[Result]) -> str:
    """The card, Markdown with front matter; `results` are those of this very checkpoint."""
    parts = [
        *_front_matter(bundle, results),
        f"# {bundle.name}, step {bundle.step}",
        "",
        *_what(bundle),
        "",
        *_contract(bundle),
        "",
        *_data(bundle),
        "",
        *_results(results),
        "",
        *_limits(bundle),
        "",
        *_use(),
    ]
    return "\n".join(parts) + "\n"


def _front_matter(bundle: ModelBundle, results: Sequence[Result]) -> Iterator[str]:
    yield "---"
    yield f"library_name: {LIBRARY}"
    yield "pipeline_tag: feature-extraction"
    yield 'tags: ["videobert", "video", "text", "video-text-retrieval", "jax"]'
    if results:
        index = {"name": bundle.name, "results": [_indexed(result) for result in results]}
        yield "model-index:"
        yield f"- {json.dumps(index, ensure_ascii=False)}"
    yield "---"


def _indexed(result: Result) -> dict[str, Any]:
    return {
        "task": {"type": result.task.replace("_", "-"), "name": result.task},
        "dataset": {"type": result.dataset, "name": result.dataset, "split": result.split},
        "metrics": [
            {"type": name, "name": f"{name} ({result.setting})", "value": value}
            for name, value in result.metrics.items()
        ],
    }


def _what(bundle: ModelBundle) -> Iterator[str]:
    config = bundle.config
    average = ", the moving average of the run's" if bundle.weights == EMA else ""
    yield (
        f"A video tower ({config.video.num_layers} layers) over precomputed clip features and a "
        f"text tower ({config.text.num_layers}) over pieces of words, fused by a cross-modal "
        f"encoder ({config.cross.num_layers}); width {config.embed_dim}, {config.num_heads} heads, "
        f"joint space of {config.joint_dim} dimensions, {config.decoder.num_layers} decoder layers "
        f"for captions. After VideoBERT (Sun et al. 2019, arXiv 1904.01766); two towers and "
        "cross-attention instead of one BERT."
    )
    yield ""
    yield f"Weights: float32{average}; digest of the checkpoint `{bundle.digest}`."


def _contract(bundle: ModelBundle) -> Iterator[str]:
    yield "## What it takes"
    yield ""
    yield (
        f"Clip features, 1 to {bundle.longest_run} of a video, made like this and no other way "
        f"(`contract.json`), and texts of at most {bundle.maximum_pieces - 2} pieces."
    )
    yield ""
    yield "| features | |"
    yield "|---|---|"
    for name, value in bundle.contract.to_json().items():
        yield f"| {name} | {'unknown' if value is None else value} |"


def _data(bundle: ModelBundle) -> Iterator[str]:
    yield "## What it was trained on"
    yield ""
    yield f"{len(bundle.trained_on['video_names'])} videos; names are in `config.json`."
    yield ""
    yield "| dataset | split | digest |"
    yield "|---|---|---|"
    for entry in bundle.trained_on["datasets"]:
        yield f"| {entry['name']} | {entry['split']} | `{entry['digest'][:12]}` |"


def _results(results: Sequence[Result]) -> Iterator[str]:
    yield "## Results"
    yield ""
    if not results:
        yield "None of this checkpoint stood in the run's `eval/` when it was exported."
        return
    yield "Of this checkpoint, as its run's records in `eval/` say; fractions as percent."
    for result in results:
        yield ""
        yield (
            f"{result.task} on {result.dataset}/{result.split} ({result.num_examples} examples, "
            f"{result.setting}):"
        )
        yield ""
        yield "```"
        yield result.table
        yield "```"


def _limits(bundle: ModelBundle) -> Iterator[str]:
    yield "## Limits"
    yield ""
    if is_drawn(bundle):
        yield f"* {_DRAWN}"
    yield "* Features made in another way mean nothing to it, and no error says so of bare arrays."
    yield "* It was not examined for bias, and is not meant for decisions about people."
    yield "* Longer videos have to be cut: later positions were never trained."
    yield (
        "* The licence of the weights follows from that of the data they were trained on; none is "
        "stated here."
    )


def _use() -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```python"
    yield "import videobert_jax"
    yield ""
    yield 'model = videobert_jax.load("FOLDER")  # this one'
    yield 'model.encode_text(["now chop the onion"])  # [1, joint], norm 1'
    yield "model.encode_video(features)  # [n, c] clip features; cosines by dot product"
    yield "```"
