"""BERTs as Hugging Face publishes them (Devlin et al. 2019), made the text tower's parameters, or
those of the frozen BERT that it reads.

A folder holds config.json, model.safetensors and the vocabulary (tokenizer.json or vocab.txt).
With `model.norm=post`, which a frozen one always has, it computes what `transformers` does; every
sentence has token type 0, so that type's vector is added to the positions. The pooler and the head
of next sentences have no place in the network and are left.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np

from videobert_jax.files import digests, json_values, tensors
from videobert_jax.models.config import ModelConfig
from videobert_jax.text import word_pieces
from videobert_jax.weights.errors import WeightsError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
EPSILON = 1e-12  # where config.json names none: the reference implementation's
_LEFT = re.compile(
    r"embeddings\.position_ids|pooler\.dense\.(weight|bias)|cls\.seq_relationship\.(weight|bias)"
)
_WORDS = "embeddings.word_embeddings.weight"
_HEAD = "cls.predictions"
_FLOATS = {np.dtype(kind) for kind in ("float32", "float16", ml_dtypes.bfloat16)}
_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Bert:
    """A published BERT as parameters of the network, by module.

    `text_embedding` and `masked_language_head` (where it was published) have the pieces in the
    order of `vocabulary`, without the rows to which the network pads them; `text_encoder` has the
    tower's layers, stacked; `video_encoder` as many as were asked for. Of one that stays frozen
    there are the embedding and the layers alone. num_layers: of the whole BERT. sha256: of its
    weights.
    """

    name: str
    sha256: str
    num_layers: int
    vocabulary: word_pieces.Vocabulary
    params: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What config.json says."""

    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    num_hidden_layers: int
    max_position_embeddings: int
    type_vocab_size: int
    vocab_size: int


def load(folder: str | os.PathLike, model: ModelConfig, video_layers: int) -> Bert:
    """The BERT of a folder for the network of `model`; `video_layers`: first ones for its video.

    Raises WeightsError, TokenizerError or ArrayFileError, before anything reaches a device, where
    a file is missing or damaged, or the network's settings are not this BERT's.
    """
    folder = pathlib.Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise WeightsError(
                f"{folder}: has no {name}; expected the folder of a BERT with {CONFIG_FILE}, "
                f"{WEIGHTS_FILE} and its vocabulary, as `save_pretrained` of transformers writes."
            )
    frozen = model.text.input == "bert_vectors"
    network = model.bert if frozen else model
    sizes = _read_sizes(folder / CONFIG_FILE, network, video_layers, frozen=frozen)
    published = word_pieces.read_published(folder)
    if len(published.ids) != sizes.vocab_size:
        raise WeightsError(
            f"{folder}: the vocabulary has {len(published.ids)} pieces, {CONFIG_FILE} says "
            f"vocab_size {sizes.vocab_size}; put the files of one BERT together."
        )
    arrays = _checked(tensors.read(folder / WEIGHTS_FILE), sizes, folder / WEIGHTS_FILE)
    params = _params(arrays, published.ids, network, video_layers)
    if frozen:
        params.pop("masked_language_head", None)  # it would read the BERT's own last layer
    return Bert(
        name=folder.resolve().name,
        sha256=digests.sha256_file(folder / WEIGHTS_FILE),
        num_layers=sizes.num_hidden_layers,
        vocabulary=published.vocabulary,
        params=params,
    )


def _read_sizes(
    file: pathlib.Path, model: ModelConfig, video_layers: int, *, frozen: bool
) -> _Sizes:
    """What config.json says, compared with the settings. Raises WeightsError."""
    try:
        fields = json_values.parse(file.read_bytes())
    except ValueError as error:
        raise WeightsError(f"{file}: not JSON ({error}); fetch it again.") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{file}: expected a JSON object, found {type(fields).__name__}.")
    found: dict[str, Any] = {
        field.name: fields.get(field.name) for field in dataclasses.fields(_Sizes)
    }
    for name, value in found.items():
        if type(value) is not int or value < 1:
            raise WeightsError(f"{file}: {name} is {value!r}, expected a whole number above 0.")
    for name, usual, known in (
        ("model_type", "bert", ("bert",)),
        ("hidden_act", "gelu", ("gelu", "relu")),
        ("position_embedding_type", "absolute", ("absolute",)),
        ("is_decoder", False, (False,)),
    ):
        if fields.get(name, usual) not in known:
            raise WeightsError(
                f"{file}: {name} is {fields[name]!r}, expected {' or '.join(map(str, known))}: "
                "the text tower computes nothing else; give another BERT."
            )
    sizes = _Sizes(**found)
    activation = fields.get("hidden_act", "gelu")
    epsilon = fields.get("layer_norm_eps", EPSILON)
    _require_settings(file, sizes, activation, epsilon, model, video_layers, frozen)
    return sizes


def _require_settings(
    file: pathlib.Path,
    sizes: _Sizes,
    activation: str,
    epsilon: float,
    model: ModelConfig,
    video_layers: int,
    frozen: bool,
) -> None:
    """Raises WeightsError that lists every setting under which the network is not this BERT."""
    group = "model.text.bert" if frozen else "model"
    equal = (
        (f"{group}.embed_dim", model.embed_dim, "hidden_size", sizes.hidden_size),
        (f"{group}.num_heads", model.num_heads, "num_attention_heads", sizes.num_attention_heads),
        (
            f"{group}.feed_forward_dim",
            model.feed_forward_dim,
            "intermediate_size",
            sizes.intermediate_size,
        ),
        (f"{group}.activation", model.activation, "hidden_act", activation),
        ("model.norm", model.norm, "order of norms", "post"),
        (f"{group}.norm_epsilon", model.norm_epsilon, "layer_norm_eps", epsilon),
    )
    layers = ("num_hidden_layers", sizes.num_hidden_layers)
    places = ("max_position_embeddings", sizes.max_position_embeddings)
    num_layers = "model.text.bert.num_layers" if frozen else "model.text.num_layers"
    at_most = (
        (num_layers, model.text.num_layers, *layers),
        ("model.text.max_length", model.text.max_length, *places),
        ("init.bert_video_layers", video_layers, *layers),
    )
    wrong = [entry for entry in equal if entry[1] != entry[3]]
    wrong += [entry for entry in at_most if entry[1] > entry[3]]
    if wrong:
        listed = "; ".join(
            f"{setting} is {ours}, its {name} {theirs}" for setting, ours, name, theirs in wrong
        )
        flags = " ".join(f"--config.{setting}={theirs}" for setting, _, _, theirs in wrong)
        raise WeightsError(f"{file}: the network is not this BERT: {listed}. Say {flags}")


def _checked(
    found: Mapping[str, np.ndarray], sizes: _Sizes, file: pathlib.Path
) -> dict[str, np.ndarray]:
    """The tensors that are used, float32, under the names of `BertModel`.

    Raises WeightsError where one is missing, has another shape, or is no BERT's.
    """
    arrays = _renamed(found, file)
    _tie_head(arrays, file)
    if sizes.num_hidden_layers > len(arrays):  # before the names of so many are listed
        raise WeightsError(
            f"{file}: {len(arrays)} tensors cannot be the {sizes.num_hidden_layers} layers of "
            f"{CONFIG_FILE}; put the files of one BERT together."
        )
    expected = _shapes(sizes)
    if any(name.startswith(_HEAD) for name in arrays):
        expected |= _head_shapes(sizes)
    wrong = [f"{name} is missing" for name in expected if name not in arrays]
    wrong += [f"{name} is no tensor of it" for name in arrays if name not in expected]
    for name, shape in expected.items():
        array = arrays.get(name)
        if array is not None and (array.shape != shape or array.dtype not in _FLOATS):
            wrong.append(f"{name} is {array.dtype}{list(array.shape)}, expected {list(shape)}")
        elif array is not None and not np.isfinite(array.astype(np.float32)).all():
            wrong.append(f"{name} has NaN or infinite numbers")
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise WeightsError(
            f"{file}: not the BERT that its {CONFIG_FILE} describes: "
            f"{'; '.join(wrong[:_SHOWN])}{more}. Put the files of one BERT together, without "
            "heads of other tasks."
        )
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _renamed(found: Mapping[str, np.ndarray], file: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors without the prefix and the old names that some files have; those of no use left."""
    arrays: dict[str, np.ndarray] = {}
    for given, array in found.items():
        name = given.removeprefix("bert.")
        name = name.removesuffix(".gamma") + ".weight" if name.endswith(".gamma") else name
        name = name.removesuffix(".beta") + ".bias" if name.endswith(".beta") else name
        if _LEFT.fullmatch(name):
            continue
        if name in arrays:
            raise WeightsError(f"{file}: holds {name} twice, once as {given}; fetch it again.")
        arrays[name] = array
    return arrays


def _tie_head(arrays: dict[str, np.ndarray], file: pathlib.Path) -> None:
    """Leaves out the head's copies of what it shares, in place. Raises WeightsError where they
    differ: the network's head has no words of its own."""
    for copy, own in (
        (f"{_HEAD}.decoder.weight", _WORDS),
        (f"{_HEAD}.decoder.bias", f"{_HEAD}.bias"),
    ):
        if copy not in arrays:
            continue
        values = arrays.pop(copy)
        if not np.array_equal(values, arrays.setdefault(own, values)):
            raise WeightsError(
                f"{file}: {copy} is not {own}; only a head that shares it can be taken over."
            )


def _dense(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _shapes(sizes: _Sizes) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of `BertModel` but the pooler's; a dense one's is [out, in]."""
    width, inner = sizes.hidden_size, sizes.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        _WORDS: (sizes.vocab_size, width),
        "embeddings.position_embeddings.weight": (sizes.max_position_embeddings, width),
        "embeddings.token_type_embeddings.weight": (sizes.type_vocab_size, width),
        **_norm("embeddings.LayerNorm", width),
    }
    for layer in range(sizes.num_hidden_layers):
        path = f"encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            shapes |= _dense(f"{path}.attention.self.{name}", width, width)
        shapes |= _dense(f"{path}.attention.output.dense", width, width)
        shapes |= _norm(f"{path}.attention.output.LayerNorm", width)
        shapes |= _dense(f"{path}.intermediate.dense", inner, width)
        shapes |= _dense(f"{path}.output.dense", width, inner)
        shapes |= _norm(f"{path}.output.LayerNorm", width)
    return shapes


def _head_shapes(sizes: _Sizes) -> dict[str, tuple[int, ...]]:
    """Shapes of the masked language head, whose words are those of the embedding."""
    width = sizes.hidden_size
    return {
        **_dense(f"{_HEAD}.transform.dense", width, width),
        **_norm(f"{_HEAD}.transform.LayerNorm", width),
        f"{_HEAD}.bias": (sizes.vocab_size,),
    }


def _params(
    arrays: Mapping[str, np.ndarray], ids: np.ndarray, model: ModelConfig, video_layers: int
) -> dict[str, Any]:
    """Parameters by module; row i of what goes by pieces is row ids[i] of the file's."""
    types = arrays["embeddings.token_type_embeddings.weight"]
    places = arrays["embeddings.position_embeddings.weight"][: model.text.max_length]
    params: dict[str, Any] = {
        "text_embedding": {
            "pieces": arrays[_WORDS][ids],
            "positions": places + types[:1],
            "norm": _our_norm(arrays, "embeddings.LayerNorm"),
        }
    }
    for module, layers in (
        ("text_encoder", model.text.num_layers),
        ("video_encoder", video_layers),
    ):
        if layers:
            params[module] = _stacked([_our_layer(arrays, n, model) for n in range(layers)])
    if f"{_HEAD}.bias" in arrays:
        params["masked_language_head"] = {
            "hidden": _our_dense(arrays, f"{_HEAD}.transform.dense"),
            "norm": _our_norm(arrays, f"{_HEAD}.transform.LayerNorm"),
            "bias": arrays[f"{_HEAD}.bias"][ids],
        }
    return params


def _our_norm(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {"scale": arrays[f"{name}.weight"], "bias": arrays[f"{name}.bias"]}


def _our_dense(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {"kernel": arrays[f"{name}.weight"].T, "bias": arrays[f"{name}.bias"]}


def _our_layer(arrays: Mapping[str, np.ndarray], number: int, model: ModelConfig) -> dict:
    """Parameters of `models.encoder.EncoderLayer`, whose attention has heads apart."""
    path, width = f"encoder.layer.{number}", model.embed_dim
    heads, size = model.num_heads, model.head_dim
    attention: dict[str, Any] = {}
    for name in ("query", "key", "value"):
        flat = _our_dense(arrays, f"{path}.attention.self.{name}")
        attention[name] = {
            "kernel": flat["kernel"].reshape(width, heads, size),
            "bias": flat["bias"].reshape(heads, size),
        }
    flat = _our_dense(arrays, f"{path}.attention.output.dense")
    attention["output"] = flat | {"kernel": flat["kernel"].reshape(heads, size, width)}
    return {
        "attention": attention,
        "attention_residual": {"norm": _our_norm(arrays, f"{path}.attention.output.LayerNorm")},
        "feed_forward": {
            "expand": _our_dense(arrays, f"{path}.intermediate.dense"),
            "contract": _our_dense(arrays, f"{path}.output.dense"),
        },
        "feed_forward_residual": {"norm": _our_norm(arrays, f"{path}.output.LayerNorm")},
    }


def _stacked(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The layers as `models.encoder.Stack` has them: on axis 0 of every leaf."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *layers)
    return {"stack": {"layers": {"layer": stacked}}}
