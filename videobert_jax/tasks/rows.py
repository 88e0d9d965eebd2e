"""Rows in which examples are evaluated: one example each, of which nothing is hidden."""

import dataclasses

import numpy as np
from jaxtyping import Int

from videobert_jax.data import block as blocks
from videobert_jax.data.config import DataConfig
from videobert_jax.data.index import Split
from videobert_jax.text.tokenizer import Tokenizer

ROWS = 32  # rows a block, of one example each
_NO_TEXT = 8  # pieces of room for texts that are not read


def evaluation_builder(
    tokenizer: Tokenizer, data: DataConfig, split: Split, *, limit: int | None = None
) -> blocks.EvaluationBuilder:
    """Blocks of one example a row, unmasked; as long as the longest, at most as in training.

    Longer examples are cut as in training: further positions were never learnt.
    """
    ids = np.arange(len(split))[:limit]
    text_length = max(map(len, tokenizer.encode(split.texts(ids.tolist()))), default=0) + 2
    clips = int(split.clip_count[ids].max(initial=1))
    settings = rows_of_one(data, text_length, clips, split.contract.dim)
    return blocks.EvaluationBuilder(split, tokenizer, settings)


def clips_builder(
    tokenizer: Tokenizer, data: DataConfig, split: Split, ids: Int[np.ndarray, " n"] | None = None
) -> blocks.EvaluationBuilder:
    """Blocks of the clips of one example a row, with no text beside them; `ids`: of these alone."""
    clips = int(split.clip_count.max(initial=1))
    settings = rows_of_one(data, _NO_TEXT, clips, split.contract.dim)
    return blocks.EvaluationBuilder(split, tokenizer, settings, "video_only", ids)


def rows_of_one(
    data: DataConfig, text_length: int, clips: int, feature_dim: int
) -> blocks.BlockSettings:
    """Rows of one example, of which nothing is hidden; as long as asked, at most as in training."""
    shown = {"text_rate": 0.0, "whole_text_examples": 0.0, "video_rate": 0.0}
    data = dataclasses.replace(
        data,
        block_size=ROWS,
        examples_per_row=1,
        read_group=1,
        content_words="",  # of training alone
        clip_labels="",
        text_length=min(round_up(text_length, 8), data.text_length),
        video_length=min(clips, data.video_length),
        target_length=0,
        masking=dataclasses.replace(data.masking, **shown),
    )
    return blocks.BlockSettings.from_config(data, 0, feature_dim, answered=False)


def round_up(value: int, multiple: int) -> int:
    """The next multiple."""
    return -(-value // multiple) * multiple
