"""The two sides of the benchmark of inference: our towers and LXMERT's, as applications call them.

Both read the same texts, cut into pieces by the same tokenizer, and the same clip features, and
give NumPy vectors of norm 1 in a joint space: mean of a tower's outputs, one projection, norm.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import lxmert, our_step
from videobert_jax import configuration, schema
from videobert_jax.data.config import DataConfig
from videobert_jax.export import names
from videobert_jax.files import extras
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import RAW, ModelConfig
from videobert_jax.schema import FeatureContract
from videobert_jax.text import tokenizer as tokenizers

SIZES = dataclasses.replace(lxmert.Sizes(), cross_layers=0)  # towers alone
JOINT_DIM = 512
STRIDE = 1.5  # seconds a clip
TOWERS = (
    "text_embedding",
    "text_encoder",
    "video_embedding",
    "video_encoder",
)
# Every one is one piece of the tokenizer, so that a text has as many pieces as words.
WORDS = (
    "add the chopped onion and garlic to pan with olive oil stir until soft pour milk into bowl "
    "whisk eggs sugar flour butter salt pepper cut carrot potato slice tomato cheese bake oven "
    "boil water drain pasta mix sauce serve on plate fry chicken beef fish rice bread"
).split()
# Median and deviation, of their logarithms, of words a text and clips a video, such that their
# means are those of YouCook II's steps: 11.6 pieces with both ends, 12.7 clips.
_WORDS, _CLIPS = (8.7, 0.45), (9.5, 0.75)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What applications have: texts, and clip features `[n, c]` of videos."""

    texts: list[str]
    videos: list[np.ndarray]


def drawn(sizes: lxmert.Sizes, count: int, *, full: bool = False) -> Inputs:
    """So many of each, of lengths like those of YouCook II's steps, or of the longest length."""
    random = np.random.default_rng(0)

    def lengths(median: float, deviation: float, longest: int) -> np.ndarray:
        values = random.lognormal(np.log(median), deviation, count).round().astype(int)
        return np.full(count, longest) if full else values.clip(1, longest)

    words = lengths(*_WORDS, sizes.text_length - 2)
    clips = lengths(*_CLIPS, sizes.video_length)
    return Inputs(
        texts=[" ".join(random.choice(WORDS, length)) for length in words],
        videos=[random.normal(size=(n, sizes.feature_dim)).astype(np.float32) for n in clips],
    )


def tokenizer() -> tokenizers.Tokenizer:
    """Of `WORDS`."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, 12)) for _ in range(500)]
    return tokenizers.Tokenizer(tokenizers.train(texts, 512))


def ours(sizes: lxmert.Sizes, words: tokenizers.Tokenizer) -> PretrainedModel:
    """Our model as `videobert_jax.load` gives one, its parameters drawn."""
    config = our_step.network_config(sizes, our_step.Form(unroll_layers=False))
    config = dataclasses.replace(config, joint_dim=JOINT_DIM)
    run = configuration.parse(configuration.load_file("configs/base.py"))
    data = dataclasses.replace(
        run.data, text_length=sizes.text_length, video_length=sizes.video_length
    )
    return PretrainedModel(_bundle(config, data, words))


def tiny(words: tokenizers.Tokenizer) -> ModelBundle:
    """The network of configs/tiny.py, its parameters drawn."""
    run = configuration.parse(configuration.load_file("configs/tiny.py"))
    config = configuration.resolve_model(
        run, vocabulary_size=words.size, feature_dim=SIZES.feature_dim
    )
    return _bundle(config, run.data, words)


def _bundle(config: ModelConfig, data: DataConfig, words: tokenizers.Tokenizer) -> ModelBundle:
    random = np.random.default_rng(0)

    def drawn_like(struct: jax.ShapeDtypeStruct) -> np.ndarray:
        return random.normal(0.0, 0.05, struct.shape).astype(np.float32)

    variables = jax.tree.map(drawn_like, names.variable_structs(config))
    dim = config.video.feature_dim
    variables["constants"]["video_embedding"] = {
        "mean": np.zeros(dim, np.float32),
        "scale": np.ones(dim, np.float32),
    }
    return ModelBundle(
        config=config,
        data=data,
        variables=variables,
        tokenizer_model=words.model,
        contract=FeatureContract(
            backbone="none",
            weights_sha256=schema.UNKNOWN,
            layer="none",
            dim=dim,
            fps=None,
            frames_per_clip=None,
            stride_seconds=STRIDE,
            crop=schema.UNKNOWN,
            normalised=False,
            dtype="float32",
        ),
        trained_on={"datasets": [], "video_names": []},
        answers=(),
        clip_labels=(),
        step=0,
        digest="",
        weights=RAW,
        name="benchmark",
        captioning_inputs=None,
    )


def num_parameters(model: PretrainedModel) -> int:
    """Of the towers and their projections into the joint space."""
    params = model.bundle.variables["params"]
    joint = {side: params["joint_head"][side] for side in ("text", "video")}
    return sum(leaf.size for leaf in jax.tree.leaves([*(params[name] for name in TOWERS), joint]))


class Peer:
    """The language and the vision layers of Hugging Face's LxmertModel, each with a projection of
    its mean; rows are padded to the longest, with LXMERT's mask. compiled: its layers are, by
    torch.compile, for lengths that vary."""

    def __init__(
        self, sizes: lxmert.Sizes, words: tokenizers.Tokenizer, threads: int, *, compiled: bool
    ):
        torch = extras.require("torch", "parity")
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self._torch, self._words, self._sizes = torch, words, sizes
        network: Any = lxmert.network(sizes).eval()
        self._embeddings, self._visn_fc = network.embeddings, network.encoder.visn_fc
        self._layers, self._r_layers = network.encoder.layer, network.encoder.r_layers
        self._projections = torch.nn.ModuleList(
            torch.nn.Linear(sizes.embed_dim, JOINT_DIM, bias=False) for _ in range(2)
        )
        if compiled:
            for layer in (*self._layers, *self._r_layers):
                layer.compile()

    @property
    def num_parameters(self) -> int:
        parts = (
            self._embeddings,
            self._visn_fc,
            self._layers,
            self._r_layers,
            self._projections,
        )
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """As `PretrainedModel.encode_text`."""
        ends = self._words.cls_id, self._words.sep_id
        pieces = [[ends[0], *ids, ends[1]] for ids in self._words.encode(texts)]
        ids, mask = self._padded([np.array(row) for row in pieces])
        with self._torch.no_grad():
            return self._text_tower(ids, mask).numpy()

    def encode_video(self, videos: Sequence[np.ndarray]) -> np.ndarray:
        """As `PretrainedModel.encode_video`."""
        features, mask = self._padded(videos)
        boxes = self._torch.zeros(*mask.shape, 4)
        with self._torch.no_grad():
            return self._video_tower(features, boxes, mask).numpy()

    def _padded(self, rows: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """(rows in one tensor, 1 where they have something)."""
        lengths = np.array([len(row) for row in rows])
        values = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]), rows[0].dtype)
        for number, row in enumerate(rows):
            values[number, : len(row)] = row
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.float32)
        return self._torch.from_numpy(values), self._torch.from_numpy(mask)

    def _text_tower(self, ids: Any, mask: Any) -> Any:
        states = self._embeddings(ids, self._torch.zeros_like(ids))
        return self._vectors(states, mask, self._layers, self._projections[0])

    def _video_tower(self, features: Any, boxes: Any, mask: Any) -> Any:
        states = self._visn_fc(features, boxes)
        return self._vectors(states, mask, self._r_layers, self._projections[1])

    def _vectors(self, states: Any, mask: Any, layers: Any, projection: Any) -> Any:
        added = (1.0 - mask[:, None, None]) * self._torch.finfo(mask.dtype).min
        for layer in layers:
            states = layer(states, added)[0]
        weights = mask[..., None]
        means = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return self._torch.nn.functional.normalize(projection(means), dim=-1)
