"""What applications give a model, checked and in few shapes; what it gives back, in their order."""

import contextlib
import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Shaped

from videobert_jax.schema import FeatureContract
from videobert_jax.text.tokenizer import Tokenizer

_MAXIMUM_ROWS = 32  # a call
_MINIMUM_LENGTH = 8  # pieces or clips a row


class InputError(ValueError):
    """An input that the model cannot take."""


class InputWarning(UserWarning):
    """An input of which the model's answer means little."""


@contextlib.contextmanager
def warned(tell: Callable[[str], object]) -> Iterator[None]:
    """Gives texts of InputWarnings to `tell`, each time one comes, in place of showing them; of one
    thread at a time, as `warnings` has it."""
    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.simplefilter("always", InputWarning)

        def hand_on(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, InputWarning):
                tell(str(message))
            else:
                show(message, category, *where)

        warnings.showwarning = hand_on
        yield


class Frames(NamedTuple):
    """A decoded video: pixels, uint8 RGB [n, h, w, 3], and fps, how many of its frames were shown a
    second."""

    pixels: np.ndarray
    fps: float | int


class ClipFeatures(NamedTuple):
    """features [n, c] of a video's clips, in order, and contract, how they were made."""

    features: np.ndarray
    contract: FeatureContract


# A file (a video, or .npy or .npz of clip features), frames, or clip features [n, c].
Video = str | os.PathLike | Frames | ClipFeatures | np.ndarray | jax.Array
Videos = Video | Sequence[Video]  # of clip features, also one array [b, n, c]
Texts = str | Sequence[str]


@dataclasses.dataclass(frozen=True)
class Side:
    """`inputs` of one kind, each [n, ...] of its own length, at most maximum_length. Raises
    InputError where there is none."""

    inputs: list[np.ndarray]
    maximum_length: int

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError("an empty list; expected one video or text, or more.")

    @property
    def longest(self) -> int:
        return max(map(len, self.inputs))

    def of(self, owners: Int[np.ndarray, " k"]) -> "Side":
        """The input of each owner."""
        return Side([self.inputs[owner] for owner in owners.tolist()], self.maximum_length)

    def batch(self, chosen: Sequence[int]) -> tuple[np.ndarray, ...]:
        return _padded([self.inputs[i] for i in chosen], self.maximum_length)


def listed(videos: Any, dim: int) -> list[Any]:
    """One video or several as a list. Raises InputError on what is neither."""
    if isinstance(videos, str | os.PathLike | Frames | ClipFeatures):
        return [videos]
    if not isinstance(videos, np.ndarray | jax.Array):
        return _each(
            videos, f"a path, Frames, ClipFeatures, an array [n, {dim}], or a list of them"
        )
    require_no_frames(videos)
    if videos.ndim not in (2, 3):
        raise InputError(
            f"video of shape {list(videos.shape)}; expected [n, {dim}], n clips, or [b, n, {dim}]."
        )
    return [videos] if videos.ndim == 2 else list(videos)


def sentences(text: Any) -> list[str]:
    """One text or several as a list. Raises InputError on what is no text, or no Unicode."""
    texts = [text] if isinstance(text, str) else _each(text, "a str, or a list of them")
    for number, each in enumerate(texts):
        if not isinstance(each, str):
            raise InputError(f"text {number} is {each!r:.80}, of {type(each).__name__}, not a str.")
        try:
            each.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {number}: character {error.start + 1}, {each[error.start]!a}, is half of a "
                "character; decode the text as what it was written in, such as UTF-8."
            ) from None
    return texts


def _each(several: Any, expected: str) -> list[Any]:
    """A list of several inputs. Raises InputError on what has none."""
    if isinstance(several, bytes | dict) or not isinstance(several, Iterable):
        raise InputError(
            f"found {several!r:.80}, of {type(several).__name__}; expected {expected}."
        )
    return list(several)


def called(number: int, video: Any) -> str:
    """What messages call a video: its path, or its place."""
    return str(video) if isinstance(video, str | os.PathLike) else f"video {number}"


def require_no_frames(video: np.ndarray | jax.Array) -> None:
    """Raises InputError on frames of which it is not said how many are shown a second."""
    if video.ndim == 4 or (video.ndim == 3 and video.dtype == np.uint8):
        raise InputError(
            f"an array of {video.dtype} {list(video.shape)}; give frames with their rate: "
            "videobert_jax.Frames(pixels, fps=25), pixels uint8 [n, height, width, 3]."
        )


def tokenized(
    tokenizer: Tokenizer, text: Texts, maximum_pieces: int, *, truncate: bool = False
) -> Side:
    """Piece ids of each text, [CLS] first and [SEP] last.

    Warns where most pieces of a text are bytes or unknown. Raises InputError on an empty text,
    what is no text and, unless `truncate` cuts it, on a too long one.
    """
    texts = sentences(text)
    room = maximum_pieces - 2
    found = []
    for number, pieces in enumerate(tokenizer.encode(texts)):
        if not pieces:
            raise InputError(f"text {number} is {texts[number]!r}; expected words.")
        if len(pieces) > room and not truncate:
            raise InputError(
                f"text {number} has {len(pieces)} pieces; expected {room} at most, as many as "
                "in training: shorten it, or cut it with truncate=True."
            )
        notice_unknown(tokenizer, number, texts[number], pieces[:room])
        ids = [tokenizer.cls_id, *pieces[:room], tokenizer.sep_id]
        found.append(np.array(ids, np.int32))
    return Side(found, maximum_pieces)


def notice_unknown(tokenizer: Tokenizer, number: int, text: str, pieces: Sequence[int]) -> None:
    """Warns where more than half of the pieces are bytes or unknown."""
    foreign = sum(
        piece < tokenizer.first_regular_id and piece != tokenizer.mask_id for piece in pieces
    )
    if 2 * foreign > len(pieces):
        warnings.warn(
            f"text {number}, {text[:40]!r}: {foreign} of {len(pieces)} pieces are single bytes or "
            "unknown, so the model was trained on another script or language, and what it says of "
            "this text means little; give text like that of its training.",
            InputWarning,
            stacklevel=2,
        )


def in_batches(
    function: Callable[..., tuple[jax.Array, ...]],
    variables: Any,
    *sides: Side,
    numbered: bool = False,
) -> list[np.ndarray]:
    """Outputs of `function` for all inputs, in their order; numbered: it takes their places
    among all before them.

    Inputs go by length, so that short ones are not padded to the longest of all.
    """
    count = len(sides[0].inputs)
    order = sorted(range(count), key=lambda i: [len(side.inputs[i]) for side in sides])
    parts = []
    for start in range(0, count, _MAXIMUM_ROWS):
        chosen = order[start : start + _MAXIMUM_ROWS]
        arrays = [side.batch(chosen) for side in sides]
        if numbered:
            rows = _power_of_two(len(chosen))
            arrays.insert(0, (np.pad(np.array(chosen, np.int32), (0, rows - len(chosen))),))
        outputs = function(variables, *itertools.chain.from_iterable(arrays))
        parts.append((chosen, [np.asarray(values)[: len(chosen)] for values in outputs]))
    return _in_order(parts)


def _padded(
    inputs: Sequence[np.ndarray], maximum_length: int
) -> tuple[Shaped[np.ndarray, "b n *c"], Int[np.ndarray, " b"]]:
    """(inputs in one array, their lengths); rows and length padded to powers of two."""
    lengths = np.array([len(values) for values in inputs], np.int32)
    rows = _power_of_two(len(inputs))
    length = row_length(int(lengths.max()), maximum_length)
    array = np.zeros((rows, length, *inputs[0].shape[1:]), inputs[0].dtype)
    for row, values in enumerate(inputs):
        array[row, : len(values)] = values
    return array, np.pad(lengths, (0, rows - len(inputs)))


def row_length(longest: int, maximum: int) -> int:
    """Slots of rows whose longest input is so long: a power of two, so that there are few."""
    return min(max(_power_of_two(longest), _MINIMUM_LENGTH), maximum)


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not less than `number`."""
    return 1 << (number - 1).bit_length()


def _in_order(parts: list[tuple[list[int], list[np.ndarray]]]) -> list[np.ndarray]:
    """Outputs of batches of chosen inputs, joined in the inputs' order, 0 where one is shorter."""
    count = sum(len(chosen) for chosen, _ in parts)
    joined = []
    for outputs in zip(*(arrays for _, arrays in parts), strict=True):
        sizes = np.max([values.shape[1:] for values in outputs], axis=0)
        joined.append(np.zeros((count, *sizes), outputs[0].dtype))
        for (chosen, _), values in zip(parts, outputs, strict=True):
            places = (chosen, *(slice(size) for size in values.shape[1:]))
            joined[-1][places] = values
    return joined
