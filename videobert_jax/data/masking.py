"""Which pieces and clips are hidden. Ragged: all units of a block in one flat array, no loops.

Draws depend on an example's seed and lengths alone, never on its neighbours in the block, but for
the rare word that finds no slot in its row.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt64

from videobert_jax.data import order, packing

_MASK, _RANDOM = 0.8, 0.1  # BERT (Devlin et al. 2019), section 3.1; the rest is left as it is
_RANK_BITS, _PLACE_BITS = 30, 14
MOST_EXAMPLES, LONGEST_ROW = 1 << (64 - _RANK_BITS - _PLACE_BITS), 1 << _PLACE_BITS  # of a block
_LONGEST_SPAN = 6.0  # times the mean; 0.2 % of geometric spans are longer


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Units (pieces or clips) of the examples of a block, one example behind another.

    owners: the example of each unit; places: from 0 within its example; lengths, seeds: one an
    example.
    """

    owners: Int64[np.ndarray, " p"]
    places: Int64[np.ndarray, " p"]
    lengths: Int64[np.ndarray, " n"]
    seeds: UInt64[np.ndarray, " n"]

    @classmethod
    def of(cls, lengths: Int64[np.ndarray, " n"], seeds: UInt64[np.ndarray, " n"]) -> "Ragged":
        owners, places = packing.spread(lengths)
        return cls(owners, places, lengths, seeds)

    def partly(self, selected: Bool[np.ndarray, " p"]) -> Bool[np.ndarray, " n"]:
        """Examples with some of their units selected."""
        return np.bincount(self.owners, selected, minlength=len(self.lengths)) > 0

    def wholly(self, selected: Bool[np.ndarray, " p"]) -> Bool[np.ndarray, " n"]:
        """Examples that have units, all of them selected."""
        hidden = np.bincount(self.owners, selected, minlength=len(self.lengths))
        return (hidden == self.lengths) & (self.lengths > 0)


def words(
    pieces: Ragged, starts_word: Bool[np.ndarray, " p"], *, whole_words: bool
) -> Int64[np.ndarray, " p"]:
    """Number of the word of each piece, counted through the block; without `whole_words` every
    piece counts as one."""
    if not whole_words:
        return np.arange(len(pieces.owners))
    return np.cumsum(starts_word | (pieces.places == 0)) - 1


def select_words(
    pieces: Ragged,
    word: Int64[np.ndarray, " p"],
    rate: float,
    weights: Float64[np.ndarray, " p"] | None = None,
    mean_span: float = 1.0,
) -> Bool[np.ndarray, " p"]:
    """Pieces to hide: whole words in random order until `rate` of the example's pieces are.

    `weights`, above 0: a word is drawn next in proportion to that of its heaviest piece
    (exponential clocks: Efraimidis and Spirakis 2006), not every word alike. `mean_span`: a drawn
    word takes those behind it along, in spans of geometric length (SpanBERT, Joshi et al. 2020,
    section 3.1).
    The word that crosses the rate is taken with the probability that keeps the expected number
    exact. Of two words or more at least one is hidden and one is not; a single word is hidden
    with probability `rate`.
    """
    if rate == 0 or not len(word):
        return np.zeros(len(word), np.bool_)
    lengths = np.bincount(word)
    first_piece = np.cumsum(lengths) - lengths
    owners = pieces.owners[first_piece]
    seeds = pieces.seeds[owners]
    place = pieces.places[first_piece]
    if weights is None:
        clocks = order.bits(seeds, order.WORD_ORDER, 0, place)
    else:
        waits = -np.log1p(-order.uniform(seeds, order.WORD_ORDER, 0, place))
        waits /= np.maximum.reduceat(weights, first_piece)
        clocks = waits.view(np.uint64)  # numbers above 0 are in the order of their bits
    ranks = clocks
    if mean_span > 1:
        number = _number_within(owners)
        reach = _span_lengths(seeds, order.WORD_SPAN, number, mean_span)
        ranks = _first_laid(owners, clocks, reach)
    by_chance = _sorted_within(owners, ranks, place)
    before = np.empty(len(lengths), np.int64)
    before[by_chance] = np.cumsum(lengths[by_chance]) - lengths[by_chance]
    before -= (np.cumsum(pieces.lengths) - pieces.lengths)[owners]  # pieces of this example
    boundary = order.uniform(seeds, order.WORD_BOUNDARY, 0, place)
    chosen = before + boundary * lengths < rate * pieces.lengths[owners]
    several = np.bincount(owners, minlength=len(pieces.lengths))[owners] > 1
    last = before + lengths == pieces.lengths[owners]
    chosen = np.where(several, (chosen | (before == 0)) & ~last, chosen)
    return chosen[word]


def select_clips(clips: Ragged, rate: float, mean_span: float) -> Bool[np.ndarray, " p"]:
    """Clips to hide, in spans of geometric length: `rate` of an example's, rounded by chance.

    Of two clips or more at least one is hidden and one is not; a single clip is hidden with
    probability `rate`. Spans (SpanBERT, Joshi et al. 2020, section 3.1) are laid down in random
    order, the last is cut to the number.
    """
    total = len(clips.owners)
    if rate == 0 or total == 0:
        return np.zeros(total, np.bool_)
    chance = order.uniform(clips.seeds, order.CLIP_COUNT, 0, 0)
    number = np.floor(rate * clips.lengths + chance).astype(np.int64)
    several = clips.lengths > 1
    number = np.where(several, np.clip(number, 1, np.maximum(clips.lengths - 1, 1)), number)
    seeds = clips.seeds[clips.owners]
    rank = order.bits(seeds, order.SPAN_ORDER, 0, clips.places)
    reach = _span_lengths(seeds, order.SPAN_LENGTH, clips.places, mean_span)
    earliest = _first_laid(clips.owners, rank, reach)
    laid = _sorted_within(clips.owners, earliest, clips.places)
    selected = np.empty(total, np.bool_)
    selected[laid] = clips.places < number[clips.owners]  # places count within an owner, as laid
    return selected


def _first_laid(
    owners: Int64[np.ndarray, " p"], ranks: UInt64[np.ndarray, " p"], reach: Int64[np.ndarray, " p"]
) -> UInt64[np.ndarray, " p"]:
    """Rank of the first-laid of the spans that cover each unit; every unit begins one."""
    earliest = ranks.copy()
    for offset in range(1, int(reach.max())):
        if offset >= len(owners):
            break
        covers = (reach[:-offset] > offset) & (owners[:-offset] == owners[offset:])
        covered = np.where(covers, ranks[:-offset], earliest[offset:])
        earliest[offset:] = np.minimum(earliest[offset:], covered)
    return earliest


def _number_within(owners: Int64[np.ndarray, " p"]) -> Int64[np.ndarray, " p"]:
    """Number of each unit within its owner, from 0; `owners` ascend."""
    return np.arange(len(owners)) - np.searchsorted(owners, owners)


def _sorted_within(
    owners: Int64[np.ndarray, " p"],
    ranks: UInt64[np.ndarray, " p"],
    places: Int64[np.ndarray, " p"],
) -> Int64[np.ndarray, " p"]:
    """Order by owner, then by rank (its upper 30 bits), then by place.

    One sort of unique 64-bit keys takes a tenth of the time of a sort by three columns.
    """
    keys = owners.astype(np.uint64) << np.uint64(_RANK_BITS + _PLACE_BITS)
    keys |= ranks >> np.uint64(64 - _RANK_BITS) << np.uint64(_PLACE_BITS)
    return np.argsort(keys | places.astype(np.uint64))


def _span_lengths(
    seeds: UInt64[np.ndarray, " p"], stream: int, places: Int64[np.ndarray, " p"], mean_span: float
) -> Int64[np.ndarray, " p"]:
    if mean_span <= 1:
        return np.ones(len(places), np.int64)
    chance = order.uniform(seeds, stream, 0, places)
    lengths = 1 + np.floor(np.log1p(-chance) / np.log1p(-1 / mean_span))
    return np.minimum(lengths, _LONGEST_SPAN * mean_span).astype(np.int64)


def of_share(
    units: Ragged, hidden: Bool[np.ndarray, " p"], share: float, stream: int
) -> Bool[np.ndarray, " p"]:
    """The hidden units of a `share` of the examples, drawn by `stream`; the others keep all."""
    if share == 1.0:
        return hidden
    return hidden & (order.uniform(units.seeds, stream, 0, 0) < share)[units.owners]


def of_whole_texts(
    pieces: Ragged, hidden: Bool[np.ndarray, " p"], share: float
) -> tuple[Bool[np.ndarray, " p"], Bool[np.ndarray, " n"]]:
    """(hidden pieces, examples of which all are): all pieces of a `share` of the examples too.

    UniVL (Luo et al. 2020, section 3.4, "enhanced video representation"): what was said has then
    to be told from the clips alone.
    """
    whole = np.zeros(len(pieces.lengths), np.bool_)
    if share > 0:
        whole = (order.uniform(pieces.seeds, order.WHOLE_TEXT, 0, 0) < share) & (pieces.lengths > 0)
    return hidden | whole[pieces.owners], whole


def show_one_side(
    pieces: Ragged,
    hidden_pieces: Bool[np.ndarray, " p"],
    clips: Ragged,
    hidden_clips: Bool[np.ndarray, " q"],
) -> tuple[Bool[np.ndarray, " p"], Bool[np.ndarray, " q"]]:
    """(hidden pieces, hidden clips) without the examples of which nothing would be seen.

    Where neither side shows anything the clips are shown, or, where there are none, the pieces.
    """
    blind_text = pieces.wholly(hidden_pieces) | (pieces.lengths == 0)
    blind_video = clips.wholly(hidden_clips) | (clips.lengths == 0)
    blind = blind_text & blind_video
    show_pieces = (blind & (clips.lengths == 0))[pieces.owners]
    return hidden_pieces & ~show_pieces, hidden_clips & ~blind[clips.owners]


def fit_slots(
    selected: Bool[np.ndarray, " p"],
    rows: Int64[np.ndarray, " p"],
    units: Int64[np.ndarray, " p"],
    slots: int,
) -> tuple[Bool[np.ndarray, " p"], Int64[np.ndarray, " p"]]:
    """(selected, slot of each selected unit) with no more than `slots` a row.

    What finds no slot stays visible, whole `units` (words) at a time. `rows` ascend.
    """
    rank = _rank_in_row(selected, rows)
    over = selected & (rank >= slots)
    if over.any():
        dropped = np.bincount(units, over) > 0
        selected = selected & ~dropped[units]
        rank = _rank_in_row(selected, rows)
    return selected, rank


def _rank_in_row(
    selected: Bool[np.ndarray, " p"], rows: Int64[np.ndarray, " p"]
) -> Int64[np.ndarray, " p"]:
    if not len(rows):
        return np.zeros(0, np.int64)
    count = np.cumsum(selected) - selected
    first = np.searchsorted(rows, np.arange(rows[-1] + 1))
    return count - count[np.minimum(first, len(rows) - 1)][rows]


def corrupt(
    ids: np.ndarray,
    selected: Bool[np.ndarray, " p"],
    pieces: Ragged,
    *,
    always: Bool[np.ndarray, " n"],
    mask_id: int,
    first_regular_id: int,
    size: int,
) -> np.ndarray:
    """Ids as the model sees them: of the selected 80 % are [MASK], 10 % a random regular piece,
    10 % unchanged; all are [MASK] in examples `always` hidden."""
    where = np.flatnonzero(selected)
    seeds, places = pieces.seeds[pieces.owners[where]], pieces.places[where]
    chance = order.uniform(seeds, order.REPLACEMENT, 0, places)
    chance[always[pieces.owners[where]]] = 0.0
    regular = size - first_regular_id
    other = first_regular_id + order.integers(seeds, order.REPLACEMENT_PIECE, 0, places, regular)
    changed = np.where(chance < _MASK, mask_id, ids[where])
    changed = np.where((chance >= _MASK) & (chance < _MASK + _RANDOM), other, changed)
    out = ids.copy()
    out[where] = changed
    return out
