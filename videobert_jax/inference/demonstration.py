"""VideoBERT's demonstrations (Sun et al. 2019, figures 1 and 2): what a sentence looks like, and
what comes next, told in visual words and shown as the clips nearest to them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from videobert_jax.inference.inputs import InputError
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.video.visual_words import VisualWords

NEXT_CLIPS = 2  # that are asked for
TOLD = 3  # visual words a question that are shown


@dataclasses.dataclass(frozen=True)
class Clips:
    """Clips that words are shown as: features [n, c], of which video and where in it each is, and
    labels of its step by kind, "" where it has none."""

    features: np.ndarray
    videos: np.ndarray  # int64 [n]
    numbers: np.ndarray  # int64 [n], places in the video
    labels: Mapping[str, np.ndarray]  # str [n]


@dataclasses.dataclass(frozen=True)
class Question:
    """A sentence, or the clips of a step [k, c], what is truly seen, and its labels by kind."""

    text: str
    shown: np.ndarray
    hidden: int  # how many clips are told
    labels: Mapping[str, str]


def tree(bundle: ModelBundle) -> VisualWords:
    """The visual words that a network was trained to tell.

    Raises InputError where it tells none.
    """
    if bundle.config.masked_video_head != "visual_words":
        raise InputError(
            f"{bundle.name} tells no visual words (model.masked_video_head="
            f'"{bundle.config.masked_video_head}"); use a run of '
            "configs/kitchen_visual_words.py or configs/videobert_visual_words.py."
        )
    constants = bundle.variables["constants"]["masked_video_head"]
    settings = bundle.config.visual_words
    levels = [np.asarray(constants[f"level_{level + 1}"]) for level in range(settings.depth)]
    return VisualWords(
        settings.branching, np.asarray(constants["centre"]), tuple(levels), bundle.contract, {}
    )


def nearest_clips(words: VisualWords, clips: Clips) -> list[np.ndarray]:
    """Of every word the clips that are it, int64, nearest first, the best one of each video."""
    of_clips, distances = words.descend(clips.features)
    order = np.lexsort((distances, of_clips))
    members = np.split(order, np.searchsorted(of_clips[order], np.arange(1, words.num_words)))
    firsts = [np.unique(clips.videos[of], return_index=True)[1] for of in members]
    return [of[np.sort(first)] for of, first in zip(members, firsts, strict=True)]


def told_words(
    model: PretrainedModel, questions: Sequence[Question], present: Sequence[bool]
) -> Int[np.ndarray, "q k"]:
    """The TOLD likeliest visual words of each question, the likeliest first, of those `present`:
    by the mean cosine over the clips that are told. Of longer videos than the network knows the
    last clips are shown."""
    longest, dim = model.maximum_clips, model.contract.dim
    numbers = [min(asked.hidden, longest) for asked in questions]  # of clips that are told
    videos = []
    for asked, hidden in zip(questions, numbers, strict=True):
        # What comes next follows upon the last clips.
        shown = asked.shown[max(0, len(asked.shown) - (longest - hidden)) :]
        videos.append(np.concatenate([shown, np.full((hidden, dim), np.nan, np.float32)]))
    texts = [asked.text for asked in questions]
    told = model.visual_words(videos, texts if all(texts) else None, truncate=True)
    scores = np.stack(
        [
            cosines[len(video) - hidden : len(video)].mean(axis=0)
            for cosines, video, hidden in zip(told, videos, numbers, strict=True)
        ]
    )
    scores = np.where(np.asarray(present)[None], scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :TOLD]


def agreement(
    questions: Sequence[Question],
    words: Int[np.ndarray, "q k"],
    nearest: Sequence[np.ndarray],
    clips: Clips,
) -> dict[str, dict[str, float]]:
    """Of every kind of labels, and of all together: how often the clip nearest to the likeliest
    word has the question's, and how often one drawn from all clips would."""
    found: dict[str, list[np.ndarray]] = {}
    expected: dict[str, list[np.ndarray]] = {}
    for asked, (first, *_) in zip(questions, words.tolist(), strict=True):
        same = {kind: clips.labels[kind] == label for kind, label in asked.labels.items()}
        same["all"] = np.logical_and.reduce(list(same.values()))
        for kind, of in same.items():
            found.setdefault(kind, []).append(of[nearest[first][0]])
            expected.setdefault(kind, []).append(of.mean())
    return {
        kind: {
            "nearest_clip": float(np.mean(of)),
            "chance": float(np.mean(expected[kind])),
            "num_questions": len(of),
        }
        for kind, of in found.items()
    }
