import dataclasses
import pathlib
import re

import pytest

from tests import bundles
from videobert_jax.export import names
from videobert_jax.models.config import BertConfig, ModelConfig, VisualWordsConfig

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "export.md"
# Settings of the network whose tensors each list of names has, in the lists' order; but for the
# first they name the tensors of a part alone.
LISTS = {
    "whole": {"token_head": True, "answers": 7, "clip_labels": 7},
    "visual_words": {
        "masked_video_head": "visual_words",
        "visual_words": VisualWordsConfig(branching=3, depth=2),
    },
    "regression": {"masked_video_head": "regression"},
    "bert_vectors": {},  # of text.input
}
PARTS = {
    "visual_words": "masked_video_head.",
    "regression": "masked_video_head.",
    "bert_vectors": ("text_embedding.", "masked_language_head.", "decoder.embedding."),
}


def listed() -> dict[str, list[tuple[str, str]]]:
    """(name, letters of the shape) of each line of every list."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    lists = [re.findall(r"^(\S+) *(.*)$", body, re.M) for language, body in fences if not language]
    return dict(zip(LISTS, lists, strict=True))


def sizes(config: ModelConfig) -> dict[str, int]:
    branching = config.visual_words.branching
    num_words = branching**config.visual_words.depth
    return {
        "d": config.embed_dim,
        "2d": 2 * config.embed_dim,
        "a": config.padded_answers,
        "l": config.padded_clip_labels,
        "n": config.num_heads,
        "h": config.head_dim,
        "f": config.feed_forward_dim,
        "j": config.joint_dim,
        "w": config.text.vocabulary_size,
        "c": config.video.feature_dim,
        "T": config.text.max_length,
        "V": config.video.max_length,
        "b": branching,
        "b^2": branching**2,
        "W": -(-num_words // 128) * 128,
        "1": 1,
        "D": config.bert.embed_dim,
        "A": config.bert.num_heads,
        "H": config.bert.head_dim,
        "F": config.bert.feed_forward_dim,
    }


@pytest.mark.parametrize("name", LISTS)
def test_the_documented_names_and_shapes_are_those_of_an_export(tiny_run, name):
    reads = "bert_vectors" if name == "bert_vectors" else "pieces"
    sizes_of_bert = BertConfig(20, 5, 28, 2, "gelu", 1e-12)
    text = dataclasses.replace(tiny_run.model.text, input=reads, bert=sizes_of_bert)
    network = dataclasses.replace(tiny_run.model, text=text, **LISTS[name])
    bundle = bundles.tiny(dataclasses.replace(tiny_run, model=network))
    config = bundle.config
    layers = {
        "text_encoder": config.text.num_layers,
        "video_encoder": config.video.num_layers,
        "cross_encoder": config.cross.num_layers,
        "constants.text_embedding.bert.text_encoder": config.text.bert.num_layers,
        "decoder": config.decoder.num_layers,
    }
    documented = {}
    for tensor, letters in listed()[name]:
        shape = tuple(sizes(config)[letter] for letter in letters.split())
        for layer in range(layers.get(tensor.partition(".layers.")[0], 1)):
            documented[tensor.replace("layers.N", f"layers.{layer}")] = shape
    part = PARTS.get(name, "")
    tensors = names.unstack(bundle.variables)
    found = {tensor: values.shape for tensor, values in tensors.items()}
    assert documented == {
        tensor: shape
        for tensor, shape in found.items()
        if tensor.removeprefix("constants.").startswith(part)
    }
