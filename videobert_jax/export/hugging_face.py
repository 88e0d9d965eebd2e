"""What an export says in the words of Hugging Face's files, so that their readers find it.

Names are those of LxmertConfig, the nearest of their networks, and `projection_dim` CLIP's. All of
it follows from what an export says in its own words, which is what `load` reads.
"""

import json
from typing import Any

from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.embeddings import EMBEDDING_DEVIATION
from videobert_jax.schema import SPECIAL_PIECES

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
_TOKENS = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


def config_fields(config: ModelConfig) -> dict[str, Any]:
    """Fields of config.json that follow from the network's settings."""
    ids = {f"{token}_id": number for number, token in enumerate(_TOKENS)}
    return {
        "architectures": ["VideoBert"],
        "model_type": "videobert",
        "dtype": "float32",
        "vocab_size": config.text.vocabulary_size,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.feed_forward_dim,
        "num_hidden_layers": config.text.num_layers,
        "l_layers": config.text.num_layers,
        "r_layers": config.video.num_layers,
        "x_layers": config.cross.num_layers,
        "visual_feat_dim": config.video.feature_dim,
        "projection_dim": config.joint_dim,
        "hidden_act": config.activation,
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.attention_dropout_rate,
        "max_position_embeddings": config.text.max_length,
        "layer_norm_eps": config.norm_epsilon,
        "initializer_range": EMBEDDING_DEVIATION,
        "tie_word_embeddings": config.text.input == "pieces",
        **ids,
    }


def tokenizer_files(bundle: ModelBundle) -> dict[str, Any]:
    """JSON files about the tokenizer, by name: special pieces and the longest text; of word pieces
    the whole tokenizer too, as the library `tokenizers` reads it."""
    config: dict[str, Any] = dict(zip(_TOKENS, SPECIAL_PIECES, strict=True))
    config["model_max_length"] = bundle.maximum_pieces
    if not bundle.tokenizer_model.startswith(b"{"):  # sentencepiece's, which stands as it is
        return {TOKENIZER_CONFIG_FILE: config}
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    tokenizer = json.loads(bundle.tokenizer_model)["tokenizer"]
    return {TOKENIZER_FILE: tokenizer, TOKENIZER_CONFIG_FILE: config}
