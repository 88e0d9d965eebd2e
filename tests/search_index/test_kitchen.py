"""Sentences find their moments among videos of the kitchen, by a bundle that is made to know them.

The network is random. A linear map behind its text tower is fitted, in closed form, to a few steps
of the corpus, so that a sentence's vector is near that of four clips of its step: what is tested is
the way from files and words to seconds, over real features.
"""

import dataclasses
import json

import numpy as np
import pytest

from tests import bundles, fakes
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.kitchen import assets
from videobert_jax.search_index import Index, building, windows

pytest.importorskip("faiss", reason="faiss is not installed")
NUM_VIDEOS, NUM_KNOWN = 25, 12


@pytest.fixture(scope="module")
def corpus():
    shipped = assets.load()
    return dataclasses.replace(shipped, videos=shipped.videos[:NUM_VIDEOS])


def sentence(step):
    """Short enough for a tokenizer that knows few words."""
    return f"{step.verb} {step.object}"


@pytest.fixture(scope="module")
def known(corpus):
    """(video, step) of the first steps with a sentence of their own, one a video."""
    found = {}
    for video in corpus.videos:
        new = [step for step in video.steps if sentence(step) not in found]
        if new:
            found[sentence(new[0])] = (video, new[0])
    return list(found.values())[:NUM_KNOWN]


class Taught(PretrainedModel):
    """A random network gives all videos nearly one vector: what they have in common is taken off.
    Texts go through a linear map that was fitted to some sentences."""

    centre = np.zeros(())
    mapping = np.zeros(())

    def encode_video(self, video):
        return unit(super().encode_video(video) - self.centre)

    def encode_text(self, text, *, truncate=False):
        return unit(super().encode_text(text, truncate=truncate) @ self.mapping)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tiny_run, corpus, known):
    """For a random projection of the kitchen's features, since the tiny network takes 24."""
    contract = dataclasses.replace(corpus.contract, dim=fakes.FEATURE_DIM)
    made = Taught(dataclasses.replace(bundles.tiny(tiny_run), contract=contract))
    of_steps = [clips_of(video, step, corpus.contract) for video, step in known]
    made.centre = PretrainedModel.encode_video(made, of_steps).mean(0)
    texts = PretrainedModel.encode_text(made, [sentence(step) for _, step in known])
    made.mapping = np.linalg.lstsq(texts, made.encode_video(of_steps))[0]
    return made


def projected(features):
    random = np.random.default_rng(0)
    matrix = random.normal(size=(features.shape[1], fakes.FEATURE_DIM)) / features.shape[1] ** 0.5
    return (features.astype(np.float32) @ matrix).astype(np.float16)


def clips_of(video, step, contract):
    """Four clips that begin within one of the step's start, an even number from the video's."""
    first = 2 * round(step.start / contract.stride_seconds / 2)
    return projected(video.features)[first : first + 4]


def test_a_sentence_finds_its_moment(model, corpus, known, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for video in corpus.videos:
        np.save(videos / f"{video.name}.npy", projected(video.features))
    (videos / "contract.json").write_text(json.dumps(model.contract.to_json()))
    cut = windows.Windows(clips=4, hop=2)
    building.update(tmp_path / "i", model, [videos], lambda: None, building.Options(cut))
    opened = Index.open(tmp_path / "i", model)
    right = 0
    for hits, (video, step) in zip(
        opened.search([sentence(step) for _, step in known]), known, strict=True
    ):
        best = hits[0]
        overlaps = best.start < step.end and best.end > step.start
        right += best.file == str(videos / f"{video.name}.npy") and overlaps
        at_file = [hit for hit in hits if hit.file == best.file]
        assert len(hits) == 10 and best.score > 0.8
        assert all(  # a moment once
            min(one.end, other.end) - max(one.start, other.start)
            <= 0.25 * (best.end - best.start) + 1e-6
            for place, one in enumerate(at_file)
            for other in at_file[:place]
        )
    assert right >= 0.75 * len(known), right
