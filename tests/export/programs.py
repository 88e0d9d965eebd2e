"""Inputs of the exported programs, and what the package itself gives for them."""

import dataclasses
from typing import Any

import numpy as np

from tests import bundles, fakes
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import BertConfig

TEXTS = ("cut the onion", "pour the milk into the pan slowly", "stir", "add salt", "cook the egg")
# (lengths of the videos, places behind the longest): batches of several sizes and lengths
BATCHES = (((4,), 0), ((3, 7, 1), 0), ((9, 2, 16, 5, 5), 3))
TOLERANCE = 1e-4

# Settings of the network by name, so that every operation of the encoders is met.
NETWORKS: dict[str, dict[str, Any]] = {
    "pre_norm": {},
    "post_norm": {"norm": "post", "norm_epsilon": 1e-12, "activation": "relu"},
    "shared": {"cross.share_directions": True, "video.input_normalization": "l2"},
    "towers": {"cross.num_layers": 0, "video.input_normalization": "none", "answers": 3},
    "bfloat16": {"compute_dtype": "bfloat16"},
    "bert": {"text.input": "bert_vectors", "text.bert": BertConfig(20, 5, 28, 2, "gelu", 1e-12)},
}


def bundle(run: Any, network: str) -> ModelBundle:
    """A tiny model with the settings of that name."""
    model = run.model
    for name, value in NETWORKS[network].items():
        part, _, field = name.rpartition(".")
        inner = {field: value}
        if part:
            inner = {part: dataclasses.replace(getattr(model, part), **inner)}
        model = dataclasses.replace(model, **inner)
    data = dataclasses.replace(run.data, video_length=24)
    return bundles.tiny(dataclasses.replace(run, model=model, data=data))


def inputs(model: PretrainedModel, lengths: tuple[int, ...], extra: int) -> dict[str, np.ndarray]:
    """Arguments of encode_pair: rows of videos of these lengths and as many texts, padded with
    `extra` places that hold anything."""
    generator = np.random.default_rng(len(lengths))
    ids = model.tokenize(TEXTS[: len(lengths)])
    shape = len(lengths), max(lengths) + extra, fakes.FEATURE_DIM
    padded = np.full((len(ids), max(map(len, ids)) + extra), 7, np.int32)
    for row, pieces in enumerate(ids):
        padded[row, : len(pieces)] = pieces
    return {
        "features": generator.normal(size=shape).astype(np.float32),
        "num_clips": np.array(lengths, np.int32),
        "ids": padded,
        "num_pieces": np.array([len(pieces) for pieces in ids], np.int32),
    }


def calls(model: PretrainedModel) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Every function with every batch."""
    listed = []
    for lengths, extra in BATCHES:
        given = inputs(model, lengths, extra)
        names = list(given)
        for name, kept in (
            ("encode_video", names[:2]),
            ("encode_text", names[2:]),
            ("encode_pair", names),
        ):
            listed.append((name, {key: given[key] for key in kept}))
    return listed


def expected(
    model: PretrainedModel, name: str, given: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What PretrainedModel gives for such inputs; texts by their place, as `inputs` made them."""
    videos, texts = [], []
    if "features" in given:
        rows = zip(given["features"], given["num_clips"], strict=True)
        videos = [features[:count] for features, count in rows]
    if "ids" in given:
        texts = list(TEXTS[: len(given["ids"])])
    if name == "encode_video":
        return {"embeddings": model.encode_video(videos)}
    if name == "encode_text":
        return {"embeddings": model.encode_text(texts)}
    fused = model.encode_pair(videos, texts)
    head = model.bundle.variables["params"]["matching_head"]["score"]
    logits = fused.pooled @ head["kernel"][:, 0] + head["bias"][0]
    return {**fused._asdict(), "matching_logits": logits}


def assert_equal(
    model: PretrainedModel,
    called: list[tuple[str, dict[str, np.ndarray]]],
    gave: list[dict[str, np.ndarray]],
) -> None:
    """The outputs are those of the package, and 0 in places that no row has."""
    for (name, given), outputs in zip(called, gave, strict=True):
        wanted = expected(model, name, given)
        assert set(outputs) == set(wanted)
        for key, value in wanted.items():
            whole = np.zeros_like(outputs[key])
            whole[tuple(map(slice, value.shape))] = value
            assert outputs[key].dtype == np.float32 and outputs[key].ndim == value.ndim
            np.testing.assert_allclose(outputs[key], whole, 0, TOLERANCE, err_msg=f"{name} {key}")
