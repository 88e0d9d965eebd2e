"""Settings of the data; meaning and defaults stand in configs/base.py."""

import dataclasses
from collections.abc import Mapping
from typing import Any

REGIMES = ("text_video", "text_only", "video_only")
EXECUTORS = ("auto", "tf", "threads")
# slots of an example: [CLS], a piece, [SEP]; a clip; a piece, [SEP]
SHORTEST_TEXT, SHORTEST_VIDEO, SHORTEST_TARGET = 3, 1, 2


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    name: str
    path: str
    split: str
    weight: float
    regime: str
    neighbours: str
    neighbour_videos: int
    alignment: str
    transcripts: str

    @property
    def shows_captions(self) -> bool:
        """Whether the captions themselves are its texts."""
        return self.regime != "video_only" and not self.transcripts


@dataclasses.dataclass(frozen=True)
class MaskingConfig:
    text_rate: float
    text_examples: float
    text_frequency_exponent: float
    text_mean_span: float
    whole_text_examples: float
    video_rate: float
    video_examples: float
    video_mean_span: float
    whole_words: bool
    whole_pairs: bool

    def __post_init__(self) -> None:
        for name in (
            "text_rate",
            "text_examples",
            "whole_text_examples",
            "video_rate",
            "video_examples",
        ):
            if not 0.0 <= (share := getattr(self, name)) <= 1.0:
                raise ValueError(f"data.masking.{name}={share} is outside [0, 1].")
        for name in ("text_mean_span", "video_mean_span"):
            if (span := getattr(self, name)) < 1:
                raise ValueError(f"data.masking.{name}={span}; expected 1 (no spans) or more.")
        if self.whole_text_examples == 1.0:
            raise ValueError(
                "data.masking.whole_text_examples=1.0 would hide every text from the matching and "
                "contrastive objectives, and from the model; use a share such as 0.15."
            )
        if self.text_frequency_exponent < 0:
            raise ValueError(
                f"data.masking.text_frequency_exponent={self.text_frequency_exponent} is below 0, "
                "which would hide frequent words first; use 0 (all alike) to 1."
            )
        always = [side for side in ("text", "video") if self._hides_always(side)]
        if self.whole_pairs and always:
            raise ValueError(
                f"data.masking.whole_pairs, but something of every example's {always[0]} is hidden "
                f"(rate above 0, {always[0]}_examples=1): no example would be whole; lower "
                f"data.masking.{always[0]}_examples, or switch whole_pairs off."
            )

    def _hides_always(self, side: str) -> bool:
        return getattr(self, f"{side}_rate") > 0 and getattr(self, f"{side}_examples") == 1.0


@dataclasses.dataclass(frozen=True)
class DrawingConfig:
    overlapped_examples: float
    overlapped_min_clips: int
    overlapped_max_clips: int
    joined_examples: float
    highest_rate: int
    run_clips: int

    def __post_init__(self) -> None:
        for name in ("overlapped_examples", "joined_examples"):
            if not 0.0 <= (share := getattr(self, name)) <= 1.0:
                raise ValueError(f"data.drawing.{name}={share} is outside [0, 1].")
        if not 1 <= self.overlapped_min_clips <= self.overlapped_max_clips:
            raise ValueError(
                f"data.drawing.overlapped_min_clips={self.overlapped_min_clips} and "
                f"overlapped_max_clips={self.overlapped_max_clips}; expected 1 or more, the first "
                "at most the second."
            )
        if self.highest_rate < 1:
            raise ValueError(
                f"data.drawing.highest_rate={self.highest_rate}; expected 1 (every clip) or more."
            )
        if self.run_clips < 0:
            raise ValueError(
                f"data.drawing.run_clips={self.run_clips}; expected 0 (the whole run) or more."
            )


# As in evaluation: every example is what the dataset says, and all of it.
AS_WRITTEN = DrawingConfig(
    overlapped_examples=0.0,
    overlapped_min_clips=1,
    overlapped_max_clips=1,
    joined_examples=0.0,
    highest_rate=1,
    run_clips=0,
)


# Fields of DataConfig that are younger than some runs and exports, at what was done before.
YOUNGER = {"parallel_reads": 1, "clip_labels": ""}
YOUNGER_OF_SOURCES = {"alignment": ""}


def with_younger(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the data with those that there were none of when they were written; its sources
    are by name, as a run writes them, or one behind another, as an export does."""
    completed = {**YOUNGER, **fields}
    sources = completed.get("sources")
    if isinstance(sources, dict):
        named = {name: {**YOUNGER_OF_SOURCES, **source} for name, source in sources.items()}
        completed["sources"] = named
    elif sources is not None:
        completed["sources"] = [{**YOUNGER_OF_SOURCES, **source} for source in sources]
    return completed


@dataclasses.dataclass(frozen=True)
class DataConfig:
    path: str
    local_copy: str
    sources: tuple[SourceConfig, ...]
    block_size: int
    blocks_per_batch: int
    examples_per_row: int
    text_length: int
    video_length: int
    target_length: int
    read_group: int
    vocabulary_size: int
    visual_words: str
    content_words: str
    clip_labels: str
    drawing: DrawingConfig
    masking: MaskingConfig
    executor: str
    workers: int
    prefetch: int
    parallel_reads: int
    max_damaged_fraction: float

    def __post_init__(self) -> None:
        lengths = (self.text_length, self.video_length, self.target_length)
        require_rows(self.block_size, self.examples_per_row, *lengths)
        if self.executor not in EXECUTORS:
            raise ValueError(f"data.executor={self.executor!r} is none of {', '.join(EXECUTORS)}.")
        if self.parallel_reads < 1:
            raise ValueError(
                f"data.parallel_reads={self.parallel_reads}; expected 1 (one call after another) "
                "or more."
            )
        for source in self.sources:
            if source.regime not in REGIMES:
                raise ValueError(
                    f"data.sources.{source.name}.regime={source.regime!r} is none of "
                    f"{', '.join(REGIMES)}."
                )
            if source.transcripts and source.regime == "video_only":
                raise ValueError(
                    f"data.sources.{source.name}.transcripts={source.transcripts!r}, but its "
                    "regime 'video_only' has no texts; leave one of them out."
                )
            if source.alignment and (source.neighbours or source.transcripts):
                other = "neighbours" if source.neighbours else "transcripts"
                raise ValueError(
                    f"data.sources.{source.name}.alignment={source.alignment!r} and .{other} both "
                    "say which examples come or what their texts are; leave one of them empty."
                )
            if source.weight < 0:
                raise ValueError(f"data.sources.{source.name}.weight={source.weight} is below 0.")
            if source.neighbours and source.neighbour_videos < 2:
                raise ValueError(
                    f"data.sources.{source.name}.neighbour_videos={source.neighbour_videos}; "
                    "expected 2 videos that come together, or more."
                )
            if source.neighbours and self.read_group > 1:
                raise ValueError(
                    f"data.read_group={self.read_group} and data.sources.{source.name}.neighbours="
                    f"{source.neighbours!r} both say which examples come together; set the former "
                    "to 1, or name no neighbours."
                )
        if self.sources and not any(source.weight for source in self.sources):
            raise ValueError(
                f"data.sources: the weights of {', '.join(s.name for s in self.sources)} sum to 0, "
                "so that there would be nothing to learn from; one must be above 0."
            )

    @property
    def global_batch_size(self) -> int:
        """Examples a step."""
        return self.block_size * self.blocks_per_batch

    @property
    def rows(self) -> int:
        """Rows a block."""
        return self.block_size // self.examples_per_row


def require_rows(
    block_size: int, examples: int, text_length: int, video_length: int, target_length: int
) -> None:
    """Raises ValueError where a block is no whole number of rows, or where a row cannot hold its
    examples even when they are cut to what is left of any. target_length 0: there is none."""
    if examples < 1 or block_size < 1:
        raise ValueError(
            f"data.block_size={block_size} and data.examples_per_row={examples}; expected 1 or "
            "more of both."
        )
    if block_size % examples:
        raise ValueError(
            f"data.block_size={block_size} is not divisible by "
            f"data.examples_per_row={examples}; change one of them."
        )
    for side, length, shortest in (
        ("text", text_length, SHORTEST_TEXT * examples),
        ("video", video_length, SHORTEST_VIDEO * examples),
        ("target", target_length, SHORTEST_TARGET * examples if target_length else 0),
    ):
        if length < shortest:
            raise ValueError(
                f"data.{side}_length={length} is too short for data.examples_per_row={examples}; "
                f"use {shortest} or more, or fewer examples a row; `videobert fit-packing` finds "
                "what holds them."
            )
