"""A packed block of unlike neighbours, and the same examples in a row each."""

import numpy as np

from tests import fakes
from videobert_jax import schema

ROWS, EXAMPLES = 4, 3
ANSWERS = 5
LABELS = 3  # of clips, beside none
SHAPE = schema.RowShape(
    examples=EXAMPLES,
    text_length=21,
    video_length=14,
    masked_text=6,
    masked_video=6,
    feature_dim=fakes.FEATURE_DIM,
    weighted_text=21,
    target_length=21,
    answered=EXAMPLES,
    labelled=14,
)
TEXT_ONLY, VIDEO_ONLY, NOTHING = {(0, 1), (1, 2)}, {(1, 0), (2, 1)}, (3, 2)


def block() -> schema.Batch:
    """Rows `[4, ...]` of three examples of two to six pieces and clips, padding behind them.

    Two have no video, two no text, one place holds no example; two captions are the same, and
    neighbours come from one video. All but those without a text have a caption to write, which in
    one of them stands in the text as it is.
    """
    generator = np.random.default_rng(0)
    made = schema.zero_block(SHAPE, ROWS)
    for row in range(ROWS):
        ends, slots = {"text": 0, "video": 0}, {"text": 0, "video": 0}
        for example in range(EXAMPLES):
            place = (row, example)
            if place == NOTHING:
                continue
            number = row * EXAMPLES + example
            made.example_ids[place] = number
            made.video_ids[place] = number // 2
            made.clip_indices[place] = number % 2
            for side, without in (("text", VIDEO_ONLY), ("video", TEXT_ONLY)):
                if place not in without:
                    used = int(generator.integers(2, 7 if side == "text" else 5))
                    _fill(made, side, row, example, ends, slots, used, generator)
            if place not in VIDEO_ONLY:
                made.caption_hashes[place] = number + 1
            made.pair_weights[place] = place not in TEXT_ONLY | VIDEO_ONLY
    made.caption_hashes[2, 0] = made.caption_hashes[0, 0]
    _fill_targets(made, generator)
    made.answers[:] = generator.integers(-1, ANSWERS, made.answers.shape)  # some have none
    made.answers[NOTHING] = schema.NO_ANSWER
    told = generator.integers(-1, LABELS + 1, made.clip_labels.shape)
    made.clip_labels[:] = np.where(made.video_segment_ids > 0, told, schema.NO_LABEL)
    return made


def _fill_targets(made, generator) -> None:
    for row in range(ROWS):
        end = 0
        for example in range(EXAMPLES):
            if (row, example) in VIDEO_ONLY | {NOTHING}:
                continue
            used = int(generator.integers(2, 7))
            own = slice(end, end + used)
            end += used
            made.target_segment_ids[row, own] = example + 1
            made.target_positions[row, own] = np.arange(used)
            made.target_ids[row, own] = generator.integers(5, fakes.VOCABULARY, used)
    made.target_shown[0, 0] = True


def _fill(made, side: str, row: int, example: int, ends, slots, used: int, generator) -> None:
    """Gives an example `used` places behind those before it; one or two of them are hidden."""
    first = ends[side]
    own = slice(first, first + used)
    ends[side] += used
    getattr(made, f"{side}_segment_ids")[row, own] = example + 1
    getattr(made, f"{side}_positions")[row, own] = np.arange(used)
    if side == "text":
        made.text_ids[row, own] = generator.integers(5, fakes.VOCABULARY, used)
        made.word_weights[row, own] = made.text_ids[row, own] % 3  # a third are no content words
    else:
        made.video_features[row, own] = generator.normal(size=(used, fakes.FEATURE_DIM))
    for hidden in range(first, first + 1 + used // 4):
        slot = slots[side]
        slots[side] += 1
        getattr(made, f"{side}_slots")[row, slot] = hidden
        getattr(made, f"{side}_slot_weights")[row, slot] = 1
        if side == "text":
            made.text_targets[row, slot] = generator.integers(5, fakes.VOCABULARY)
            made.word_weights[row, hidden] = 0
        else:
            made.video_masked[row, hidden] = True


def unpacked(given: schema.Batch) -> schema.Batch:
    """The same examples `[12, ...]`, each at the beginning of a row of its own."""
    shape = schema.RowShape(1, 8, 6, 3, 3, SHAPE.feature_dim, 8, 8, 1, 6)
    made = schema.zero_block(shape, ROWS * EXAMPLES)
    for number, (row, example) in enumerate(np.ndindex(ROWS, EXAMPLES)):
        for name in (
            "example_ids",
            "video_ids",
            "clip_indices",
            "clip_steps",
            "caption_hashes",
            "pair_weights",
            "target_shown",
            "answers",
        ):
            getattr(made, name)[number, 0] = getattr(given, name)[row, example]
        for side, values in (
            ("text", ("text_ids", "text_positions", "word_weights")),
            ("video", ("video_features", "video_positions", "video_masked", "clip_labels")),
            ("target", ("target_ids", "target_positions")),
        ):
            own = np.flatnonzero(getattr(given, f"{side}_segment_ids")[row] == example + 1)
            getattr(made, f"{side}_segment_ids")[number, : len(own)] = 1
            for name in values:
                getattr(made, name)[number, : len(own)] = getattr(given, name)[row, own]
            if side != "target":
                _move_slots(made, given, side, number, row, own)
    return made


def _move_slots(made, given, side: str, number: int, row: int, own: np.ndarray) -> None:
    slots = getattr(given, f"{side}_slots")[row]
    mine = (getattr(given, f"{side}_slot_weights")[row] > 0) & np.isin(slots, own)
    for new, old in enumerate(np.flatnonzero(mine)):
        getattr(made, f"{side}_slots")[number, new] = slots[old] - own[0]
        getattr(made, f"{side}_slot_weights")[number, new] = 1
        if side == "text":
            made.text_targets[number, new] = given.text_targets[row, old]
