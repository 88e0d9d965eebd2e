"""What a block takes, decided from the index alone: source, texts and clips; nothing is read."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt64

from videobert_jax.data import order, random_reads
from videobert_jax.data.alignment import Alignment
from videobert_jax.data.config import DrawingConfig
from videobert_jax.data.index import Split

_ONE = 1 << 32  # shares are fractions of it, so that block numbers are exact for ever


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Mixes the blocks of several sources in fixed proportions, evenly: no draw, no state.

    `shares[s]` is the part of the blocks left over by the sources before s that go to source s,
    in units of 2^-32. After k blocks every source is within one block of k times its weight for
    each source before it, itself included.
    """

    shares: tuple[int, ...]

    def locate(self, k: int) -> tuple[int, int]:
        """(source, number of the block within that source) of block k."""
        last = len(self.shares) - 1
        for source, share in enumerate(self.shares[:-1]):
            before = _taken(k, share)
            if _taken(k + 1, share) > before:
                return source, before
            k -= before
        return last, k

    def counts(self, k: int) -> list[int]:
        """How many of the first k blocks each source has given."""
        counts = []
        for share in self.shares[:-1]:
            counts.append(_taken(k, share))
            k -= counts[-1]
        return [*counts, k]


def _taken(k: int, share: int) -> int:
    return (k * share + _ONE // 2) // _ONE


def schedule(weights: Sequence[float]) -> Schedule:
    """Schedule of sources with these weights; one of weight 0 gives no block.

    Raises ValueError where one is negative, or none positive.
    """
    if not weights or min(weights) < 0 or not any(weights):
        raise ValueError(f"weights of sources {list(weights)}; expected one or more above 0")
    shares = []
    for source, weight in enumerate(weights):
        share = round(weight / sum(weights[source:]) * _ONE) if weight else 0
        shares.append(min(max(share, 1), _ONE) if weight else 0)
    return Schedule(tuple(shares))


@dataclasses.dataclass(frozen=True)
class Runs:
    """Clips `firsts`, `firsts + steps`, ..., `counts` of them, of every example's video.

    joined: the example whose text follows the example's own, -1 where none does.
    """

    firsts: Int64[np.ndarray, " n"]
    counts: Int64[np.ndarray, " n"]
    steps: Int64[np.ndarray, " n"]
    joined: Int64[np.ndarray, " n"]


def runs(
    split: Split,
    ids: Int64[np.ndarray, " n"],
    seeds: UInt64[np.ndarray, " n"],
    regime: str,
    config: DrawingConfig,
    alignment: Alignment | None = None,
) -> Runs:
    """What these examples take, before rows cut it; draws depend on an example's seed alone.

    alignment: says their clips in place of the split.
    """
    said = split if alignment is None else alignment
    firsts = random_reads.take(said.first_clip, ids).astype(np.int64)
    counts = random_reads.take(said.clip_count, ids).astype(np.int64)
    joined = np.full(len(ids), -1)
    if config.joined_examples and regime != "video_only":
        joined = _joined(split, ids, seeds, config.joined_examples)
        if alignment is not None:
            joined = np.where(alignment.keeps(joined), joined, -1)
        firsts, counts = _with_next(said, firsts, counts, joined)
    if config.overlapped_examples and regime != "text_only":
        whole = random_reads.take(split.num_clips, random_reads.take(split.video, ids))
        firsts, counts = _overlapped(firsts, counts, whole.astype(np.int64), seeds, config)
    steps = np.ones(len(ids), np.int64)
    if config.highest_rate > 1:
        steps += order.integers(seeds, order.RATE, 0, 0, config.highest_rate)
        counts = -(-counts // steps)
    if config.run_clips and regime == "video_only":
        kept = np.minimum(counts, config.run_clips)
        firsts = firsts + steps * order.integers(seeds, order.RUN, 0, 0, counts - kept + 1)
        counts = kept
    return Runs(firsts, counts, steps, joined)


def _joined(
    split: Split, ids: Int64[np.ndarray, " n"], seeds: UInt64[np.ndarray, " n"], share: float
) -> Int64[np.ndarray, " n"]:
    """The next example, for a share of those that have one: of their video, both with captions."""
    following = np.minimum(ids + 1, len(split) - 1)
    same_video = random_reads.take(split.video, ids) == random_reads.take(split.video, following)
    captioned = random_reads.take(split.caption_hash, ids) != 0
    captioned &= random_reads.take(split.caption_hash, following) != 0
    drawn = order.uniform(seeds, order.JOINED, 0, 0) < share
    return np.where((following > ids) & same_video & captioned & drawn, following, -1)


def _with_next(
    said: Split | Alignment,
    firsts: Int64[np.ndarray, " n"],
    counts: Int64[np.ndarray, " n"],
    joined: Int64[np.ndarray, " n"],
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """(first, count) of the clips from the beginning of the first to the end of the last of both;
    a side without clips adds none."""
    following = np.where(joined >= 0, joined, 0)
    next_count = np.where(joined >= 0, random_reads.take(said.clip_count, following), 0)
    next_first = random_reads.take(said.first_clip, following).astype(np.int64)
    begin = np.where(counts > 0, np.minimum(firsts, next_first), next_first)
    end = np.maximum(np.where(counts > 0, firsts + counts, 0), next_first + next_count)
    changed = next_count > 0
    return np.where(changed, begin, firsts), np.where(changed, end - begin, counts)


def _overlapped(
    firsts: Int64[np.ndarray, " n"],
    counts: Int64[np.ndarray, " n"],
    whole: Int64[np.ndarray, " n"],
    seeds: UInt64[np.ndarray, " n"],
    config: DrawingConfig,
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """(first, count) of clips around any clip of the run, cut to the video's `whole` clips
    (VideoCLIP, Xu et al. 2021, section 3.2)."""
    shortest, longest = config.overlapped_min_clips, config.overlapped_max_clips
    centres = firsts + order.integers(seeds, order.CENTRE, 0, 0, np.maximum(counts, 1))
    span = longest - shortest + 1
    lengths = shortest + order.integers(seeds, order.CENTRE, 1, 0, span)
    begins = np.maximum(centres - lengths // 2, 0)
    ends = np.minimum(centres - lengths // 2 + lengths, whole)
    drawn = order.uniform(seeds, order.CENTRE, 2, 0) < config.overlapped_examples
    drawn &= counts > 0
    return np.where(drawn, begins, firsts), np.where(drawn, ends - begins, counts)


def random_window(
    counts: Int64[np.ndarray, " n"], kept: Int64[np.ndarray, " n"], seeds: UInt64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """First of the `kept` neighbouring clips of an example's `counts`, uniform over all starts."""
    return order.integers(seeds, order.WINDOW, 0, 0, counts - kept + 1)


def centred_window(
    counts: Int64[np.ndarray, " n"], kept: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """First of the `kept` clips in the middle of an example's `counts`: no chance in evaluation."""
    return (counts - kept) // 2
