"""The encoders in NumPy, for one pair without padding, from the same parameters: their attention.

In float64, and one sub-layer after another, so that nothing is shared with the network but its
parameters.
"""

import math

import jax
import numpy as np

from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import ModelConfig

_erf = np.vectorize(math.erf)
_ACTIVATIONS = {
    "gelu": lambda values: 0.5 * values * (1 + _erf(values / np.sqrt(2))),
    "relu": lambda values: np.maximum(values, 0),
}


def layer_norm(values: np.ndarray, params: dict, epsilon: float = 1e-6) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + epsilon)
    return centred / deviation * params["scale"] + params["bias"]


def weights_of_heads(queries: np.ndarray, keys: np.ndarray, params: dict) -> np.ndarray:
    """softmax(q k^T / sqrt(h)) [n, q, k], head by head."""
    heads = []
    for head in range(params["query"]["kernel"].shape[1]):
        query, key = (
            values @ params[side]["kernel"][:, head] + params[side]["bias"][head]
            for side, values in (("query", queries), ("key", keys))
        )
        scores = np.exp(query @ key.T / np.sqrt(query.shape[-1]))
        heads.append(scores / scores.sum(-1, keepdims=True))
    return np.stack(heads)


def attended(
    bundle: ModelBundle, features: np.ndarray, ids: list[int]
) -> list[tuple[str, np.ndarray]]:
    """Where it stands, and the weights [n, q, k], of every attention, in the network's order."""
    encoders = _Encoders(bundle)
    encoders.run(features, ids)
    return encoders.attended


class _Encoders:
    """Both towers and the cross-modal encoder."""

    def __init__(self, bundle: ModelBundle):
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), bundle.variables)
        self.config = bundle.config
        self.params, self.constants = variables["params"], variables["constants"]
        self.attended: list[tuple[str, np.ndarray]] = []

    def run(self, features: np.ndarray, ids: list[int]) -> None:
        if self.config.text.input == "pieces":
            text = self._pieces(ids, self.params["text_embedding"], self.config)
        else:
            bert, params = self.constants["text_embedding"]["bert"], self.params["text_embedding"]
            config = self.config.bert
            below = self._pieces(ids, bert["text_embedding"], config)
            vectors = self._tower("bert", below, bert["text_encoder"], config, config.text)
            text = self._norm(_linear(vectors, params["project"]), params["norm"])
        text = self._tower("text", text, self.params["text_encoder"], self.config, self.config.text)
        video = self._tower(
            "video",
            self._clips(features),
            self.params["video_encoder"],
            self.config,
            self.config.video,
        )
        for number in range(self.config.cross.num_layers):
            stack = self.params["cross_encoder"]["stack"]["layers"]["layer"]
            text, video = self._cross(text, video, _layer(stack, number))

    def _pieces(self, ids: list[int], params: dict, config: ModelConfig) -> np.ndarray:
        embedded = params["pieces"][ids] + params["positions"][: len(ids)]
        return layer_norm(embedded, params["norm"], config.norm_epsilon)

    def _clips(self, features: np.ndarray) -> np.ndarray:
        params, statistics = self.params["video_embedding"], self.constants["video_embedding"]
        scaled = (features - statistics["mean"]) / statistics["scale"]
        embedded = _linear(scaled, params["project"]) + params["positions"][: len(features)]
        return self._norm(embedded, params["norm"])

    def _norm(self, values: np.ndarray, params: dict) -> np.ndarray:
        return layer_norm(values, params, self.config.norm_epsilon)

    def _tower(self, name, values, params, config: ModelConfig, side) -> np.ndarray:
        for number in range(side.num_layers):
            layer = _layer(params["stack"]["layers"]["layer"], number)
            values = self._layer(name, values, layer, config)
        is_normed = config.norm == "pre"
        return layer_norm(values, params["norm"], config.norm_epsilon) if is_normed else values

    def _layer(self, name: str, values: np.ndarray, params: dict, config: ModelConfig):
        def feed_forward(inputs: np.ndarray) -> np.ndarray:
            hidden = _linear(inputs, params["feed_forward"]["expand"])
            hidden = _ACTIVATIONS[config.activation](hidden)
            return _linear(hidden, params["feed_forward"]["contract"])

        def attend(inputs: np.ndarray) -> np.ndarray:
            return self._attend(name, inputs, inputs, params["attention"])

        for branch, residual in (
            (attend, "attention_residual"),
            (feed_forward, "feed_forward_residual"),
        ):
            norm = params[residual]["norm"]
            if config.norm == "pre":
                values = values + branch(layer_norm(values, norm, config.norm_epsilon))
            else:
                values = layer_norm(values + branch(values), norm, config.norm_epsilon)
        return values

    def _cross(self, text: np.ndarray, video: np.ndarray, params: dict):
        found = []
        for name, reader, read in (("text", text, video), ("video", video, text)):
            other = "video" if name == "text" else "text"
            direction = f"{name}_reads_{other}"
            weights = params.get("cross_attention", params.get(direction))
            norm = params[f"{direction}_residual"]["norm"]
            if self.config.norm == "pre":
                normed = self._norm(read, params[f"read_{other}_norm"])
                query = self._norm(reader, norm)
                found.append(reader + self._attend(direction, query, normed, weights))
            else:
                attended = self._attend(direction, reader, read, weights)
                found.append(self._norm(reader + attended, norm))
        return (
            self._layer("cross_text", found[0], params["text"], self.config),
            self._layer("cross_video", found[1], params["video"], self.config),
        )

    def _attend(self, name, queries, keys, params) -> np.ndarray:
        weights = weights_of_heads(queries, keys, params)
        self.attended.append((name, weights))
        kernel, bias = params["value"]["kernel"], params["value"]["bias"]
        read = [
            of @ (keys @ kernel[:, head] + bias[head]) @ params["output"]["kernel"][head]
            for head, of in enumerate(weights)
        ]
        return np.sum(read, axis=0) + params["output"]["bias"]


def _layer(stack: dict, number: int) -> dict:
    return jax.tree.map(lambda leaf: leaf[number], stack)


def _linear(values: np.ndarray, params: dict) -> np.ndarray:
    return values @ params["kernel"] + params["bias"]
