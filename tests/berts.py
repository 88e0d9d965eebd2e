"""Folders with little BERTs, made up, as Hugging Face publishes them."""

import json
import pathlib
from typing import Any

import numpy as np
import safetensors.numpy

WORDS = "cut stir pour the onion carrot egg pan bowl slow now into with salt . , '".split()
# Out of our order: special pieces in the middle, unused ones around them.
PIECES = ["[PAD]", "[unused0]", *WORDS[:3], "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
PIECES += [*WORDS[3:], "##ly", "##s", "##ed", *"abcdefghij", *(f"##{c}" for c in "abcdefghij")]
CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "vocab_size": len(PIECES),
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
}
# Settings of configs/tiny.py under which its text tower is such a BERT.
SETTINGS: dict[str, Any] = {"model.norm": "post", "model.norm_epsilon": 1e-12}


def tokenizer_json(pieces: list[str], **normalizer: Any) -> dict[str, Any]:
    """What a tokenizer.json of these pieces holds."""
    return {
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [
            {"id": pieces.index(piece), "content": piece, "special": True}
            for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
            if piece in pieces
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
            **normalizer,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: number for number, piece in enumerate(pieces)},
        },
    }


def tensors(config: dict[str, Any] = CONFIG, *, head: bool = False) -> dict[str, np.ndarray]:
    """Random tensors under Hugging Face's names, without a prefix; with a masked language head."""
    generator = np.random.default_rng(0)
    width, inner = config["hidden_size"], config["intermediate_size"]
    made: dict[str, np.ndarray] = {}

    def put(name: str, *shape: int) -> None:
        made[name] = generator.normal(0.0, 0.1, shape).astype(np.float32)

    def dense(name: str, outputs: int, inputs: int) -> None:
        put(f"{name}.weight", outputs, inputs)
        put(f"{name}.bias", outputs)

    def norm(name: str) -> None:
        put(f"{name}.weight", width)
        put(f"{name}.bias", width)

    put("embeddings.word_embeddings.weight", config["vocab_size"], width)
    put("embeddings.position_embeddings.weight", config["max_position_embeddings"], width)
    put("embeddings.token_type_embeddings.weight", config["type_vocab_size"], width)
    norm("embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        path = f"encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            dense(f"{path}.attention.self.{name}", width, width)
        dense(f"{path}.attention.output.dense", width, width)
        norm(f"{path}.attention.output.LayerNorm")
        dense(f"{path}.intermediate.dense", inner, width)
        dense(f"{path}.output.dense", width, inner)
        norm(f"{path}.output.LayerNorm")
    dense("pooler.dense", width, width)
    if head:
        dense("cls.predictions.transform.dense", width, width)
        norm("cls.predictions.transform.LayerNorm")
        put("cls.predictions.bias", config["vocab_size"])
    return made


def write(
    folder: pathlib.Path,
    *,
    config: dict[str, Any] = CONFIG,
    weights: dict[str, np.ndarray] | None = None,
    tokenizer: dict[str, Any] | None = None,
) -> pathlib.Path:
    """The folder, with config.json, model.safetensors and tokenizer.json."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    weights = tensors(config) if weights is None else weights
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    tokenizer = tokenizer_json(PIECES) if tokenizer is None else tokenizer
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder
