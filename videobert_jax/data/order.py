"""Which example stands at a data position, and every random draw of the pipeline.

Both are pure functions of integers, defined here and frozen by tests: NumPy's generators may
change between versions (NEP 19). A position counts the examples that a source has given since
the start of the run; `epoch, rank = divmod(position, size)`.
"""

import numpy as np
from jaxtyping import Float64, Int64, Integer, UInt64

Seed = int | np.integer | UInt64[np.ndarray, "*#n"]
Count = int | np.integer | Integer[np.ndarray, "*#n"]

ROUNDS = 10  # of the Feistel network; 4 are enough in theory (Luby & Rackoff 1988), domains small
_WORD = (1 << 64) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)

# Streams: one a purpose, so that no two draws share their bits. Never renumber them.
ORDER, READ_GROUP, SOURCE, EXAMPLE, WINDOW = 1, 2, 3, 4, 5
WORD_ORDER, WORD_BOUNDARY, REPLACEMENT, REPLACEMENT_PIECE = 6, 7, 8, 9
CLIP_COUNT, SPAN_ORDER, SPAN_LENGTH, EVALUATION = 10, 11, 12, 13
TEXT_SHARE, VIDEO_SHARE, WHOLE_TEXT, WORD_SPAN = 14, 15, 16, 17
JOINED, CENTRE, RATE, RUN = 18, 19, 20, 21
NEIGHBOURS = 22


def bits(seed: Seed, stream: Count, position: Count, i: Count) -> UInt64[np.ndarray, "*n"]:
    """64 random bits for each (seed, stream, position, i); arguments broadcast.

    SplitMix64 (Steele et al. 2014) nested three times: every prefix seeds a stream of its own.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant; scalars would warn
        state = _mix(_words(seed) + _GOLDEN)
        for counter in (stream, position, i):
            state = _mix(state + _GOLDEN * (_words(counter) + np.uint64(1)))
    return np.asarray(state)


def uniform(seed: Seed, stream: Count, position: Count, i: Count) -> Float64[np.ndarray, "*n"]:
    """Uniform numbers in [0, 1), 53 bits each, from `bits`."""
    return np.asarray((bits(seed, stream, position, i) >> np.uint64(11)) * 2.0**-53)


def integers(
    seed: Seed, stream: Count, position: Count, i: Count, below: Count
) -> Int64[np.ndarray, "*n"]:
    """Uniform integers in [0, below), `below` from 1 to 2^32, from `bits`."""
    high = bits(seed, stream, position, i) >> np.uint64(32)
    return np.asarray((high * _words(below)) >> np.uint64(32)).astype(np.int64)


def _words(value: Seed | Count) -> np.ndarray | np.uint64:
    if isinstance(value, int):  # any size and sign
        return np.uint64(value & _WORD)
    return value.astype(np.uint64)


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _FIRST_FACTOR
    x = (x ^ (x >> np.uint64(27))) * _SECOND_FACTOR
    return x ^ (x >> np.uint64(31))


def feistel(
    seed: int, epoch: Count, size: int, ranks: Integer[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """Where a permutation of 0 ... size - 1, one an epoch, puts ranks; O(1) an element, no table.

    `epoch` is one number or one for each rank. A balanced Feistel network over the next power of 4;
    ranks that leave the domain walk on until they return (Black & Rogaway 2002), in fewer than 4
    rounds of walking on average.
    """
    if size < 1:
        raise ValueError(f"a permutation of {size} elements; expected 1 or more")
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    epochs = np.broadcast_to(np.asarray(epoch), ranks.shape)
    keys = bits(seed, ORDER, epochs[None], np.arange(ROUNDS)[:, None])
    out = _network(ranks.astype(np.uint64), keys, half)
    while (outside := np.flatnonzero(out >= np.uint64(size))).size:
        out[outside] = _network(out[outside], keys[:, outside], half)
    return out.astype(np.int64)


def _network(ranks: np.ndarray, keys: np.ndarray, half: np.uint64) -> np.ndarray:
    """Once through all rounds; half: bits of either side."""
    low = np.uint64((1 << int(half)) - 1)
    left, right = ranks >> half, ranks & low
    for key in keys:
        left, right = right, left ^ (_mix(right + key) >> np.uint64(32) & low)
    return left << half | right


def example_ids(
    seed: int, size: int, read_group: int, positions: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """Ids of the examples at these positions of a source of `size`: each once an epoch.

    `read_group` neighbours of the index stay together, for stores where random reads are dear;
    where they start shifts from epoch to epoch, and what fills no group ends the epoch.
    """
    epochs, ranks = np.divmod(positions, size)
    if read_group == 1:
        return feistel(seed, epochs, size, ranks)
    num_groups = size // read_group
    groups, within = np.divmod(ranks, read_group)
    whole = groups < num_groups
    ids = ranks.copy()
    if whole.any():
        of_groups = feistel(seed, epochs[whole], num_groups, groups[whole])
        ids[whole] = of_groups * read_group + within[whole]
    return (ids + integers(seed, READ_GROUP, epochs, 0, size)) % size
