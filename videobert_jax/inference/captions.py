"""What the decoder writes of videos, and of the segments of one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from videobert_jax.inference.inputs import InputError, Side, Texts, Videos
from videobert_jax.inference.network import Network, require_paired
from videobert_jax.models import generation
from videobert_jax.objectives.config import BOTH, TRANSCRIPT, VIDEO

JOINT = "; "  # between captions of parts of a video
Seconds = float | int


class TimedCaption(NamedTuple):
    """A caption, `text`, of what is seen from `start` to `end`, in seconds."""

    start: Seconds
    end: Seconds
    text: str


def caption(
    network: Network,
    video: Videos | None,
    transcript: Texts | None,
    told_from: str | None,
    truncate: bool,
    seed: int,
    options: dict[str, Any],
) -> list[str]:
    """A caption a video or transcript. Raises InputError as `PretrainedModel.caption` says."""
    if not network.bundle.config.decoder.num_layers:
        raise InputError(
            "the network has no decoder (model.decoder.num_layers=0); use a model that was "
            "trained with objectives.captioning."
        )
    _require_as_trained(network, video, transcript, told_from)
    try:
        settings = generation.settings(
            max_pieces=network.bundle.maximum_target_pieces,
            num_pieces=network.tokenizer.size,
            **options,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    sides: dict[str, Side] = {}
    owners = None
    if video is not None:
        parts, owners = _parts(network.features(video), network.maximum_clips)
        sides["video"] = Side(parts, network.maximum_clips)
    if transcript is not None:
        texts = network.texts(transcript, truncate=truncate)
        if owners is not None:
            require_paired(int(owners[-1]) + 1, len(texts.inputs))
            texts = texts.of(owners)
        sides["text"] = texts
    written = network.write(sides, settings, seed)
    if owners is None:
        return written
    return [
        JOINT.join(dict.fromkeys(np.array(written, object)[owners == number]))
        for number in range(int(owners[-1]) + 1)
    ]


def _parts(videos: Sequence[np.ndarray], length: int) -> tuple[list[np.ndarray], np.ndarray]:
    """(parts of at most `length` clips one behind another, as equal as can be; video of each)."""
    parts = [np.array_split(clips, -(-len(clips) // length)) for clips in videos]
    owners = np.repeat(np.arange(len(videos)), [len(of) for of in parts])
    return [part for of in parts for part in of], owners


def _require_as_trained(
    network: Network, video: Any, transcript: Any, told_from: str | None
) -> None:
    """Raises InputError unless the sides that are given are those that captions are told from."""
    if video is None and transcript is None:
        raise InputError("neither video nor transcript; expected one of them, or both.")
    one = VIDEO if transcript is None else TRANSCRIPT
    given = BOTH if video is not None and transcript is not None else one
    wanted = told_from or network.bundle.captions_read or given
    if wanted != given:
        raise InputError(
            f"{given} given, but captions are told from {wanted}"
            f"{'' if told_from else ', as in training'}; give that, or say inputs={given!r}."
        )


def spans(
    network: Network,
    features: np.ndarray,
    segments: Sequence[tuple[Seconds, Seconds]] | None,
    seconds: Seconds,
) -> tuple[list[tuple[Seconds, Seconds]], list[np.ndarray]]:
    """(start and end, clips) of each segment, or of spans of so many seconds one behind another.

    Raises InputError on segments without length or outside the video.
    """
    contract = network.contract
    covered = contract.covered_seconds(len(features))
    if segments is None:
        if not 0 < seconds < np.inf:
            raise InputError(f"segments of {seconds} s; expected more than 0.")
        starts = [number * seconds for number in range(int(np.ceil(round(covered / seconds, 6))))]
        segments = [(start, min(start + seconds, covered)) for start in starts]
    clips = []
    for number, (start, end) in enumerate(segments):
        first, count = contract.clips_between(start, end, len(features))
        if not 0 <= start < end or not count:
            raise InputError(
                f"segment {number} from {start:g} to {end:g} s; expected 0 <= start < end, and a "
                f"start within the {covered:g} s of the video."
            )
        clips.append(features[first : first + count])
    return [(start, end) for start, end in segments], clips
