"""Captions that the decoder writes of an example's clips, of what is said, or of both.

By beam search or by sampling, with a cache of keys and values (`models.generation`); scored by the
field's metrics (`tasks.caption_results`).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Shaped

from videobert_jax import schema
from videobert_jax.data import texts
from videobert_jax.models import generation
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.generation import Draws, SamplingSettings, SearchSettings
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives.config import BOTH, TRANSCRIPT, VIDEO
from videobert_jax.sharding import partitioning
from videobert_jax.tasks import (
    caption_results,
    encoding,
    report,
    token_states,
    trained_heads,
    truncation,
)
from videobert_jax.tasks.caption_results import NAME, References
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.report import TaskResult

__all__ = ["NAME", "Settings", "evaluate"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How captions are written.

    inputs: one of CAPTIONING_INPUTS; None takes what the decoder read in training, and where that
    is not known, both where the run's first source has transcripts, else the video. transcripts: a
    split of the dataset with what is said; None takes that of the run's first source. writing: what
    `generation.settings` takes, but what the network says.
    """

    inputs: str | None
    transcripts: str | None
    writing: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Written:
    """`captions` of examples, and how the words that they were told from were cut."""

    captions: list[str]
    num_transcripts: int
    num_cut: int


def evaluate(context: EvaluationContext, settings: Settings) -> TaskResult:
    """Figures of the network's captions beside those of baselines.

    Raises EvaluationError where the network has no decoder, where it would read transcripts and
    there are none, and on settings by which no captions are written.
    """
    writing = _writing(context, settings)
    inputs, spoken = _inputs(context, settings)
    references = References.of(context, needs_clips=inputs == VIDEO)
    ids = references.ids
    rows = context.expect(ids, "a caption with a word" + " and clips" * (inputs == VIDEO))
    written = _write(context, rows, ids, inputs, spoken, writing)
    return caption_results.result(
        context,
        references,
        written.captions,
        truncation={**truncation.counts(context, ids), "transcripts_cut": written.num_cut},
        details={
            report.ANSWERED_BY: _how(inputs, writing),
            "inputs": inputs,
            "writing": dataclasses.asdict(writing),
            "num_transcripts": written.num_transcripts,
        },
        wordless=True,
    )


def _how(inputs: str, writing: SearchSettings | SamplingSettings) -> str:
    read = {VIDEO: "the clips", TRANSCRIPT: "what is said", BOTH: "the clips and what is said"}
    settings = dataclasses.asdict(writing)
    said = ", ".join(
        f"{name}={value:g}" for name, value in settings.items() if name != "num_pieces"
    )
    return f"told from {read[inputs]}; {said}"


def _writing(context: EvaluationContext, settings: Settings) -> SearchSettings | SamplingSettings:
    bundle = context.bundle
    if not bundle.config.decoder.num_layers:
        raise EvaluationError(
            f"captioning needs a network with a decoder, and {bundle.name} has none "
            "(model.decoder.num_layers=0); evaluate one trained with objectives.captioning."
        )
    trained_heads.require(context, trained_heads.DECODER, NAME)
    try:
        return generation.settings(
            max_pieces=bundle.maximum_target_pieces,
            num_pieces=context.runner.tokenizer.size,
            **settings.writing,
        )
    except ValueError as error:
        raise EvaluationError(str(error)) from error


def _inputs(
    context: EvaluationContext, settings: Settings
) -> tuple[str, Callable[[Int[np.ndarray, " n"]], list[str]] | None]:
    """(what is read, what is said while examples are shown or None)."""
    name = settings.transcripts or context.bundle.data.sources[0].transcripts
    inputs = settings.inputs or context.bundle.captions_read or (BOTH if name else VIDEO)
    if inputs == VIDEO:
        return inputs, None
    if name not in context.dataset.splits:
        raise EvaluationError(
            f"inputs {inputs!r} need transcripts, and {name!r} is no split of "
            f"{context.dataset.path} ({', '.join(context.dataset.splits)}); name one that says "
            "when its sentences are spoken (--transcripts=SPLIT), or take --inputs=video."
        )
    try:
        spoken = texts.Spoken(context.split, context.dataset.splits[name])
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    return inputs, lambda ids: spoken.texts(ids.astype(np.int64), np.full(len(ids), -1, np.int64))


def _write(
    context: EvaluationContext,
    rows: Int[np.ndarray, " n"],
    ids: Int[np.ndarray, " n"],
    inputs: str,
    spoken: Callable[[Int[np.ndarray, " n"]], list[str]] | None,
    writing: SearchSettings | SamplingSettings,
) -> _Written:
    """The caption of every example."""
    runner, encodings = context.runner, context.encodings
    said = [""] * len(ids) if spoken is None else spoken(ids)
    sentences, cut = runner.cut_sentences(said)
    texts = [of if len(of) > 2 else [] for of in sentences]  # without a piece there is no text
    longest = encoding.round_up(max(map(len, texts), default=0), 8)
    length = min(longest, context.bundle.maximum_pieces) or 1
    text_ids, text_segment_ids = encoding.text_arrays(texts, length)
    program = _compiled(context.bundle.config, runner.mesh, inputs, writing)
    captions: list[str] = []
    with jax.set_mesh(runner.mesh):
        for group in token_states.groups((encodings.video,), len(rows)):
            video, places = token_states.held(encodings.video, rows[group])
            for chunk in runner.chunks(len(group)):
                of = group[chunk]
                arrays = (
                    video[places[chunk]],
                    encodings.video_segment_ids[rows[of]],
                    text_ids[of],
                    text_segment_ids[of],
                    ids[of].astype(np.int32),
                )
                seed = np.uint32(context.seed)
                written = np.asarray(program(runner.variables, seed, *runner.spread(*arrays)))
                captions += [runner.tokenizer.decode(row) for row in written[: len(chunk)]]
    return _Written(captions, sum(map(bool, texts)), int(cut.sum()))


@functools.lru_cache(maxsize=4)
def _compiled(
    config: ModelConfig, mesh: Mesh, inputs: str, writing: SearchSettings | SamplingSettings
) -> Callable:
    """A jitted function from variables, seed and rows `[k, r, ...]` to pieces `[k r, u]`."""
    model = VideoBert(dataclasses.replace(config, attention="dense"))  # rows are short

    def write(variables: Any, seed: Array, *arrays: Array) -> Int[Array, "b u"]:
        rows = [array.reshape(-1, *array.shape[2:]) for array in arrays]
        return _written_ids(model, inputs, writing, variables, seed, *rows)

    return jax.jit(write, out_shardings=partitioning.replicated(mesh))


def _written_ids(
    model: VideoBert,
    inputs: str,
    writing: SearchSettings | SamplingSettings,
    variables: Any,
    seed: Shaped[Array, ""],
    video: Float[Array, "b v d"],
    video_segment_ids: Int[Array, "b v"],
    text_ids: Int[Array, "b t"],
    text_segment_ids: Int[Array, "b t"],
    example_ids: Int[Array, " b"],
) -> Int[Array, "b u"]:
    """Pieces of the caption of every row, told from the sides that are read."""
    text = None
    if inputs != VIDEO:
        places = jnp.arange(text_ids.shape[1], dtype=jnp.int32)
        positions = jnp.where(text_segment_ids != schema.NO_SEGMENT, places[None], 0)
        given = (text_ids, text_segment_ids, positions)
        encoded: Any = model.apply(variables, *given, method="encode_text")
        text = encoded, text_segment_ids
    seen = None if inputs == TRANSCRIPT else (video, video_segment_ids)
    draws = Draws(seed, example_ids)
    return generation.captions(model, variables, text, seen, writing, draws)
