"""When steps are done in a video, by the cosine of every second with every step."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from videobert_jax.inference.inputs import InputError, Side, Videos
from videobert_jax.inference.network import Network
from videobert_jax.models import step_assignment


class Localization(NamedTuple):
    """Where k steps are in a video of t seconds.

    seconds [k] int64: the second [s, s + 1) of each step, in the order of the steps; scores [k]
    float32: its cosine there; cosines [t, k] float32: of every second with every step.
    """

    seconds: np.ndarray
    scores: np.ndarray
    cosines: np.ndarray


def localize(
    network: Network, video: Videos, steps: Sequence[str], ordered: bool, truncate: bool
) -> list[Localization]:
    """Of each video where the steps are, each of them once and in order, or each by itself."""
    if isinstance(steps, str):
        raise InputError(f"steps={steps!r}; expected a list of them.")
    texts = network.texts(steps, truncate=truncate)
    told = network.vectors("text_vectors", texts)
    found = []
    for number, features in enumerate(network.features(video)):
        cosines = _of_seconds(network, features) @ told.T
        if ordered and len(steps) > len(cosines):
            raise InputError(
                f"{len(steps)} steps cannot be put in order into the {len(cosines)} seconds of "
                f"video {number}; give fewer steps, or ordered=False."
            )
        at = (
            step_assignment.assign(cosines.astype(np.float64))
            if ordered
            else cosines.argmax(axis=0)
        )
        found.append(Localization(at, cosines[at, np.arange(len(at))], cosines))
    return found


def _of_seconds(network: Network, features: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "t j"]:
    """Vector of every second of a video: that of the clip nearest to its middle, encoded alone, as
    CrossTask's protocol has it; the towers were trained on clips of one step."""
    alone = Side(list(features[:, None]), network.maximum_clips)
    vectors = network.vectors("video_vectors", alone)
    contract = network.contract
    seconds = math.ceil(round(contract.covered_seconds(len(features)), 6))
    return vectors[contract.clips_at(np.arange(seconds) + 0.5, len(features))]
