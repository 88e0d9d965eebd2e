"""Blocks: the one unit of the data. `build(k)` is pure, so any process may build any block.

A block is `block_size` consecutive positions of one source laid out as rows of
`examples_per_row`: the window of packing, the scope of local negatives and the unit of reading.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from videobert_jax import schema
from videobert_jax.data import answers, draw, fill, masking, order, random_reads
from videobert_jax.data.alignment import Alignment
from videobert_jax.data.clip_labels import LabelList
from videobert_jax.data.config import (
    AS_WRITTEN,
    REGIMES,
    DataConfig,
    DrawingConfig,
    MaskingConfig,
    require_rows,
)
from videobert_jax.data.fill import Chosen, HostBlock
from videobert_jax.data.index import Split
from videobert_jax.data.neighbours import NearOrder, Neighbours
from videobert_jax.data.reader import ClipReader
from videobert_jax.data.texts import Spoken
from videobert_jax.text.content_words import WordWeights
from videobert_jax.text.tokenizer import Tokenizer

__all__ = ["BlockBuilder", "BlockSettings", "EvaluationBuilder", "HostBlock", "Source"]

_LARGEST_ID = np.iinfo(np.int32).max


class Source(NamedTuple):
    """A split, how it is used ("text_video", "text_only", "video_only"), its part of the blocks.

    With `neighbours`, examples of about `neighbour_videos` near videos come together. transcripts:
    the split whose sentences are its texts, where its captions are not. alignment: which of its
    examples come, and with which clips, where not all do as they are.
    """

    split: Split
    regime: str
    weight: float
    neighbours: Neighbours | None = None
    neighbour_videos: int = 0
    transcripts: Split | None = None
    alignment: Alignment | None = None

    @property
    def num_examples(self) -> int:
        """How many of the split's examples come."""
        return len(self.split if self.alignment is None else self.alignment.examples)


@dataclasses.dataclass(frozen=True)
class BlockSettings:
    """Everything but sources and tokenizer that decides the bytes of a block, the budget of damaged
    examples, and how many reads of a source are under way at a time."""

    shape: schema.RowShape
    block_size: int
    drawing: DrawingConfig
    masking: MaskingConfig
    seed: int
    read_group: int
    max_damaged_fraction: float
    parallel_reads: int

    def __post_init__(self) -> None:
        shape = self.shape
        lengths = (shape.text_length, shape.video_length, shape.target_length)
        require_rows(self.block_size, shape.examples, *lengths)
        for side in ("text", "video", "target"):
            length = getattr(shape, f"{side}_length")
            if length > masking.LONGEST_ROW:
                raise ValueError(
                    f"data.{side}_length={length}; expected at most {masking.LONGEST_ROW}."
                )
        if self.block_size > masking.MOST_EXAMPLES:
            raise ValueError(
                f"data.block_size={self.block_size}; expected at most {masking.MOST_EXAMPLES}."
            )
        if self.read_group < 1 or self.read_group > self.block_size:
            raise ValueError(
                f"data.read_group={self.read_group}; expected 1 to data.block_size="
                f"{self.block_size}."
            )

    @classmethod
    def from_config(
        cls, data: DataConfig, seed: int, feature_dim: int, *, answered: bool
    ) -> "BlockSettings":
        """Settings of a run; slots for masked positions follow from the rates. answered: whether
        answers of examples are told."""
        return cls(
            shape=schema.RowShape(
                examples=data.examples_per_row,
                text_length=data.text_length,
                video_length=data.video_length,
                masked_text=_text_slots(data),
                masked_video=_video_slots(data),
                feature_dim=feature_dim,
                weighted_text=data.text_length if data.content_words else 0,
                target_length=data.target_length,
                answered=data.examples_per_row if answered else 0,
                labelled=data.video_length if data.clip_labels else 0,
            ),
            block_size=data.block_size,
            drawing=data.drawing,
            masking=data.masking,
            seed=seed,
            read_group=data.read_group,
            max_damaged_fraction=data.max_damaged_fraction,
            parallel_reads=data.parallel_reads,
        )

    @property
    def rows(self) -> int:
        return self.block_size // self.shape.examples


def _text_slots(data: DataConfig) -> int:
    """Room for the rate and for a word an example that crosses it, in whole vectors of 8; and,
    but for one row in a thousand, for the texts hidden as a whole."""
    rate, share, examples = (
        data.masking.text_rate,
        data.masking.whole_text_examples,
        data.examples_per_row,
    )
    if rate == share == 0:
        return 0
    whole = 0.0
    if share:  # of examples a row: mean and three deviations of their binomial number
        number = share * examples + 3 * math.sqrt(share * (1 - share) * examples)
        whole = min(number, examples) / examples
    expected = int((rate * (1 - whole) + whole) * data.text_length) + examples
    return min(-(-expected // 8) * 8, data.text_length)


def _video_slots(data: DataConfig) -> int:
    """The largest number that `masking.select_clips` can hide in a row."""
    rate = data.masking.video_rate
    if rate == 0:
        return 0
    return min(int(rate * data.video_length) + data.examples_per_row, data.video_length)


class BlockBuilder:
    """Training blocks of several weighted sources. Picklable: a copy opens the shards anew.

    first_blocks: how many blocks each source has given to earlier stages, () for none. answer_list:
    answers by number, where rows have them. label_list: those of clips, likewise. Raises
    ValueError where a source is empty or its clip features are not like the others'
    (ContractMismatch) or of another size than the settings say.
    """

    def __init__(
        self,
        sources: Sequence[tuple],
        tokenizer: Tokenizer,
        settings: BlockSettings,
        words: WordWeights | None = None,
        first_blocks: Sequence[int] = (),
        answer_list: Sequence[str] = (),
        label_list: LabelList | None = None,
    ):
        self.sources = tuple(Source(*source) for source in sources)
        self.tokenizer, self.settings, self.words = tokenizer, settings, words
        if bool(settings.shape.weighted_text) != (words is not None):
            raise ValueError(
                f"rows with weights of {settings.shape.weighted_text} pieces, and "
                f"{'no' if words is None else 'some'} content words to weigh; give both or neither."
            )
        if bool(settings.shape.answered) != bool(answer_list):
            raise ValueError(
                f"rows with answers of {settings.shape.answered} examples, and {len(answer_list)} "
                "answers to tell; give both or neither."
            )
        if bool(settings.shape.labelled) != (label_list is not None):
            raise ValueError(
                f"rows with labels of {settings.shape.labelled} clips, and "
                f"{'none' if label_list is None else 'some'} to tell; give both or neither."
            )
        for source in self.sources:
            _check_source(source, settings.shape.feature_dim)
        _check_contracts(self.sources)
        self.first_blocks = tuple(first_blocks) or (0,) * len(self.sources)
        self.schedule = draw.schedule([source.weight for source in self.sources])
        self._spoken = [
            None if source.transcripts is None else Spoken(source.split, source.transcripts)
            for source in self.sources
        ]
        self._readers = [
            ClipReader(source.split, settings.parallel_reads) for source in self.sources
        ]
        self.near_orders = [_near_order(source, settings.block_size) for source in self.sources]
        # where the text is what was said, nothing is asked
        self._answers = [
            answers.numbers(source.split, answer_list) if source.transcripts is None else None
            for source in self.sources
        ]
        self._clip_labels = [label_list and label_list.of(source.split) for source in self.sources]
        self._first_examples = _first_numbers(self.sources, lambda split: len(split))
        self._first_videos = _first_numbers(self.sources, lambda split: len(split.videos))

    def build(self, k: int) -> HostBlock:
        """Block k of the stage, counted from 0: the same bytes wherever it is built."""
        settings, chosen = self.settings, self.choose(k)
        return fill.fill(chosen, self.tokenizer, self.words, settings.shape, settings.masking)

    def blocks_given(self, k: int) -> list[int]:
        """How many blocks each source has given when the first k of the stage are built."""
        taken = self.schedule.counts(k)
        return [first + new for first, new in zip(self.first_blocks, taken, strict=True)]

    def choose(self, k: int) -> Chosen:
        """The examples of block k, of which nothing is read yet."""
        settings = self.settings
        number, within = self.schedule.locate(k)
        within += self.first_blocks[number]
        source = self.sources[number]
        positions = np.arange(within * settings.block_size, (within + 1) * settings.block_size)
        order_seed = int(order.bits(settings.seed, order.SOURCE, number, 0))
        if near := self.near_orders[number]:
            ids = near.example_ids(order_seed, positions)
        else:
            size = source.num_examples
            ids = order.example_ids(order_seed, size, settings.read_group, positions)
            if source.alignment is not None:
                ids = random_reads.take(source.alignment.examples, ids)
        return Chosen(
            split=source.split,
            reader=self._readers[number],
            regime=source.regime,
            ids=ids,
            seeds=order.bits(settings.seed, order.EXAMPLE, positions, number),
            drawing=settings.drawing,
            alignment=source.alignment,
            spoken=self._spoken[number],
            answers=self._answers[number],
            clip_labels=self._clip_labels[number],
            first_example=self._first_examples[number],
            first_video=self._first_videos[number],
            window=draw.random_window,
        )


class EvaluationBuilder:
    """Every example of a split once, in index order, or those that are named, in their order; the
    last block is filled up with padding.

    Nothing is left to chance but masks, where the settings ask for them: those depend on the
    seed and the example's id alone, so that the size of blocks changes nothing.
    """

    def __init__(
        self,
        split: Split,
        tokenizer: Tokenizer,
        settings: BlockSettings,
        regime: str = "text_video",
        examples: Int[np.ndarray, " n"] | None = None,
    ):
        self.split, self.tokenizer, self.settings = split, tokenizer, settings
        self.regime = regime
        self.examples = np.arange(len(split)) if examples is None else examples
        _check_source(Source(split, regime, 1.0), settings.shape.feature_dim)
        self._reader = ClipReader(split, settings.parallel_reads)

    @property
    def num_blocks(self) -> int:
        return -(-len(self.examples) // self.settings.block_size)

    def of_examples(self, examples: Int[np.ndarray, " n"]) -> "EvaluationBuilder":
        """Blocks of these examples alone, each as it is among all."""
        return EvaluationBuilder(
            self.split, self.tokenizer, self.settings, self.regime, examples=examples
        )

    def build(self, k: int) -> HostBlock:
        """Block k of `num_blocks`."""
        settings = self.settings
        if not 0 <= k < self.num_blocks:
            raise ValueError(f"block {k} of an evaluation of {self.num_blocks} blocks")
        ids = np.full(settings.block_size, schema.PADDING_EXAMPLE)
        own = self.examples[k * settings.block_size : (k + 1) * settings.block_size]
        ids[: len(own)] = own
        chosen = Chosen(
            split=self.split,
            reader=self._reader,
            regime=self.regime,
            ids=ids,
            seeds=order.bits(settings.seed, order.EVALUATION, ids, 0),
            drawing=AS_WRITTEN,
            alignment=None,
            spoken=None,
            answers=None,
            clip_labels=None,
            first_example=0,
            first_video=0,
            window=lambda counts, kept, seeds: draw.centred_window(counts, kept),
        )
        return fill.fill(chosen, self.tokenizer, None, settings.shape, settings.masking)


def _check_source(source: Source, feature_dim: int) -> None:
    split = source.split
    where = f"split {split.name} of {split.path}"
    if source.regime not in REGIMES:
        raise ValueError(f"regime {source.regime!r} of {where}; expected {', '.join(REGIMES)}.")
    if source.alignment is not None:
        source.alignment.require_split(split)
    if len(split) == 0:
        raise ValueError(f"{where} has no examples; leave it out or prepare the dataset anew.")
    if source.regime != "text_only" and split.contract.dim != feature_dim:
        raise ValueError(
            f"{where} has clip features of {split.contract.dim} dimensions, expected "
            f"{feature_dim}; use sources of one size."
        )


def _near_order(source: Source, block_size: int) -> NearOrder | None:
    """Raises NeighboursError where the neighbours are another split's."""
    if source.neighbours is None:
        return None
    source.neighbours.require_split(source.split)
    return NearOrder.of_videos(source.neighbours, source.neighbour_videos, block_size)


def _check_contracts(sources: Sequence[Source]) -> None:
    """Raises ContractMismatch where two sources with clip features were made differently."""
    with_video = [source.split for source in sources if source.regime != "text_only"]
    for split in with_video[1:]:
        first = with_video[0]
        split.contract.verify_against(
            first.contract,
            found=f"split {split.name} of {split.path}",
            expected=f"split {first.name} of {first.path}",
        )


def _first_numbers(sources: Sequence[Source], size) -> list[int]:
    """Number of each source's first example (or video) among all; one split has one, however
    many sources use it. Raises ValueError where ids would not fit int32."""
    first: dict[tuple[str, str, str], int] = {}
    total = 0
    keys = [(str(s.split.path), s.split.name, s.split.digest) for s in sources]
    for key, source in zip(keys, sources, strict=True):
        if key not in first:
            first[key] = total
            total += size(source.split)
    if total > _LARGEST_ID:
        raise ValueError(f"the sources hold {total} examples; expected at most {_LARGEST_ID}.")
    return [first[key] for key in keys]
