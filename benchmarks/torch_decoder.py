"""The decoder as Hugging Face's BERT: the same layers, widths, heads, pieces and parameters.

`BertLMHeadModel` with `is_decoder` and cross-attention is our decoder with `norm: "post"`, tied
head and all, so that `generate` of both can be set side by side.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers

from videobert_jax.models.config import ModelConfig
from videobert_jax.models.decoder import BEGIN, END


def equal(config: ModelConfig, params: Mapping[str, Any]) -> transformers.BertLMHeadModel:
    """The peer of the decoder of `params`, in evaluation mode, float32. It reads a memory as
    encoder_hidden_states with its encoder_attention_mask.

    Raises ValueError where BERT has no such decoder.
    """
    if config.norm != "post" or config.text.input != "pieces" or config.activation != "gelu":
        raise ValueError(
            f"model.norm={config.norm!r}, model.text.input={config.text.input!r}, model.activation="
            f"{config.activation!r}; BERT's are 'post', 'pieces', 'gelu'."
        )
    peer = transformers.BertLMHeadModel(
        transformers.BertConfig(
            vocab_size=config.text.vocabulary_size,
            hidden_size=config.embed_dim,
            num_hidden_layers=config.decoder.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.feed_forward_dim,
            hidden_act="gelu",
            max_position_embeddings=config.text.max_length,
            type_vocab_size=1,
            layer_norm_eps=config.norm_epsilon,
            is_decoder=True,
            add_cross_attention=True,
            bos_token_id=BEGIN,
            eos_token_id=END,
            pad_token_id=0,
        )
    )
    weights = _weights(params, config.decoder.num_layers)
    found = {name: torch.from_numpy(np.array(values)) for name, values in weights.items()}
    unknown = peer.load_state_dict(found, strict=False)
    tied = {"bert.embeddings.position_ids", "cls.predictions.decoder.weight"}
    tied |= {"cls.predictions.decoder.bias", "bert.embeddings.token_type_embeddings.weight"}
    if missing := {*unknown.unexpected_keys, *unknown.missing_keys} - tied:
        raise ValueError(f"BERT and our decoder have other parameters: {sorted(missing)}")
    peer.bert.embeddings.token_type_embeddings.weight.data.zero_()
    peer.cls.predictions.decoder.bias.data = found["cls.predictions.bias"]
    peer.tie_weights()
    return peer.eval()


def _weights(params: Mapping[str, Any], num_layers: int) -> dict[str, np.ndarray]:
    """Our parameters by BERT's names; its kernels are [out, in]."""
    embedding, decoder = params["text_embedding"], params["decoder"]
    head, layers = decoder["head"], decoder["stack"]["layers"]["layer"]
    found = {
        "bert.embeddings.word_embeddings.weight": embedding["pieces"],
        "bert.embeddings.position_embeddings.weight": embedding["positions"],
        **_norm("bert.embeddings.LayerNorm", embedding["norm"]),
        **_linear("cls.predictions.transform.dense", head["hidden"], 1),
        **_norm("cls.predictions.transform.LayerNorm", head["norm"]),
        "cls.predictions.bias": head["bias"],
    }
    for number in range(num_layers):
        stem = f"bert.encoder.layer.{number}"
        layer = _layer(layers, number)
        for ours, theirs in (("attention", "attention"), ("cross_attention", "crossattention")):
            for name in ("query", "key", "value"):
                found |= _linear(f"{stem}.{theirs}.self.{name}", layer[ours][name], 1)
            found |= _linear(f"{stem}.{theirs}.output.dense", layer[ours]["output"], 2)
            norm = layer[f"{ours}_residual"]["norm"]
            found |= _norm(f"{stem}.{theirs}.output.LayerNorm", norm)
        forward = layer["feed_forward"]
        found |= _linear(f"{stem}.intermediate.dense", forward["expand"], 1)
        found |= _linear(f"{stem}.output.dense", forward["contract"], 1)
        found |= _norm(f"{stem}.output.LayerNorm", layer["feed_forward_residual"]["norm"])
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def _layer(stacked: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {
        name: _layer(of, number) if isinstance(of, Mapping) else of[number]
        for name, of in stacked.items()
    }


def _linear(name: str, params: Mapping[str, Any], contracted: int) -> dict[str, np.ndarray]:
    """A kernel whose first `contracted` dimensions are the input's."""
    kernel = np.asarray(params["kernel"])
    inputs = int(np.prod(kernel.shape[:contracted]))
    return {
        f"{name}.weight": kernel.reshape(inputs, -1).T,
        f"{name}.bias": np.asarray(params["bias"]).reshape(-1),
    }


def _norm(name: str, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {f"{name}.weight": params["scale"], f"{name}.bias": params["bias"]}
