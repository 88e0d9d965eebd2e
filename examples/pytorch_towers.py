"""An export of videobert_jax in plain PyTorch: the two towers, the cross-modal encoder, the match.

python examples/pytorch_towers.py FOLDER

It needs torch and safetensors, nothing of videobert_jax, so that it may be copied into a project as
it is. Tensors and their names are those that docs/export.md lists. Networks whose text tower reads
a frozen BERT (model.text.input = "bert_vectors") are not held here.
"""

import argparse
import hashlib
import json
import math
import pathlib

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

FORMAT, FORMAT_VERSION = "videobert_jax.export", 1
ACTIVATIONS = {"gelu": nn.functional.gelu, "relu": nn.functional.relu}


class ExportError(ValueError):
    """A folder that holds no such export, or a damaged one."""


class Weights:
    """Tensors under a common beginning of their names."""

    def __init__(self, tensors: dict[str, Tensor], prefix: str = ""):
        self._tensors, self._prefix = tensors, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[f"{self._prefix}{name}"]

    def below(self, name: str) -> "Weights":
        return Weights(self._tensors, f"{self._prefix}{name}.")


def linear(weights: Weights, num_outputs: int, bias: bool = True) -> nn.Linear:
    """Kernels stand `[inputs..., outputs...]`, heads in dimensions of their own."""
    kernel = weights["kernel"]
    kernel = kernel.reshape(-1, num_outputs).T
    made = nn.Linear(kernel.shape[1], num_outputs, bias)
    made.weight = nn.Parameter(kernel.contiguous())
    if bias:
        made.bias = nn.Parameter(weights["bias"].reshape(-1))
    return made


def layer_norm(weights: Weights, config: dict) -> nn.LayerNorm:
    made = nn.LayerNorm(config["embed_dim"], config["norm_epsilon"])
    made.weight, made.bias = nn.Parameter(weights["scale"]), nn.Parameter(weights["bias"])
    return made


class Attention(nn.Module):
    """Multi-head attention of `queries [b, q, d]` over `keys [b, k, d]`; a query outputs 0 where
    none of its keys is real."""

    def __init__(self, weights: Weights, config: dict):
        super().__init__()
        self.num_heads, width = config["num_heads"], config["embed_dim"]
        parts = ("query", "key", "value", "output")
        self.query, self.key, self.value, self.output = (
            linear(weights.below(part), width) for part in parts
        )

    def forward(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """`allowed [b, q, k]` is true where a query sees a key."""
        query, key, value = (
            each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for each in (self.query(queries), self.key(keys), self.value(keys))
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~allowed[:, None], torch.finfo(scores.dtype).min)
        probabilities = scores.softmax(-1).masked_fill(~allowed[:, None], 0.0)
        context = (probabilities @ value).transpose(1, 2).flatten(2)
        return self.output(context) * allowed.any(-1, keepdim=True)


class FeedForward(nn.Module):
    def __init__(self, weights: Weights, config: dict):
        super().__init__()
        self.expand = linear(weights.below("expand"), config["feed_forward_dim"])
        self.contract = linear(weights.below("contract"), config["embed_dim"])
        self.activation = ACTIVATIONS[config["activation"]]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.contract(self.activation(self.expand(inputs)))


class Residual(nn.Module):
    """x + f(norm(x)) where norm is "pre", norm(x + f(x)) where it is "post"."""

    def __init__(self, weights: Weights, config: dict):
        super().__init__()
        self.norm, self.is_pre = layer_norm(weights.below("norm"), config), config["norm"] == "pre"

    def forward(self, inputs: Tensor, branch) -> Tensor:
        if self.is_pre:
            return inputs + branch(self.norm(inputs))
        return self.norm(inputs + branch(inputs))


class EncoderLayer(nn.Module):
    def __init__(self, weights: Weights, config: dict):
        super().__init__()
        self.attention = Attention(weights.below("attention"), config)
        self.attention_residual = Residual(weights.below("attention_residual"), config)
        self.feed_forward = FeedForward(weights.below("feed_forward"), config)
        self.feed_forward_residual = Residual(weights.below("feed_forward_residual"), config)

    def forward(self, inputs: Tensor, allowed: Tensor) -> Tensor:
        attended = self.attention_residual(inputs, lambda x: self.attention(x, x, allowed))
        return self.feed_forward_residual(attended, self.feed_forward)


class Encoder(nn.Module):
    """A tower's layers; with a last norm where they norm their inputs."""

    def __init__(self, weights: Weights, config: dict, num_layers: int):
        super().__init__()
        layers = (weights.below(f"layers.{number}") for number in range(num_layers))
        self.layers = nn.ModuleList(EncoderLayer(layer, config) for layer in layers)
        is_pre = config["norm"] == "pre"
        self.norm = layer_norm(weights.below("norm"), config) if is_pre else nn.Identity()

    def forward(self, inputs: Tensor, real: Tensor) -> Tensor:
        allowed = real[:, :, None] & real[:, None]
        for layer in self.layers:
            inputs = layer(inputs, allowed)
        return self.norm(inputs)


class CrossLayer(nn.Module):
    """Each side reads the other as it came in, then itself."""

    def __init__(self, weights: Weights, config: dict):
        super().__init__()
        if config["cross"]["share_directions"]:
            self.text_reads = self.video_reads = Attention(weights.below("cross_attention"), config)
        else:
            self.text_reads = Attention(weights.below("text_reads_video"), config)
            self.video_reads = Attention(weights.below("video_reads_text"), config)
        self.text_residual = Residual(weights.below("text_reads_video_residual"), config)
        self.video_residual = Residual(weights.below("video_reads_text_residual"), config)
        norms = ("read_text_norm", "read_video_norm")
        is_pre = config["norm"] == "pre"
        self.text_norm, self.video_norm = (
            layer_norm(weights.below(name), config) if is_pre else nn.Identity() for name in norms
        )
        self.text = EncoderLayer(weights.below("text"), config)
        self.video = EncoderLayer(weights.below("video"), config)

    def forward(self, text: Tensor, video: Tensor, has_text: Tensor, has_video: Tensor):
        read_text, read_video = self.text_norm(text), self.video_norm(video)
        allowed = has_text[:, :, None] & has_video[:, None]
        text, video = (
            self.text_residual(text, lambda x: self.text_reads(x, read_video, allowed)),
            self.video_residual(
                video, lambda x: self.video_reads(x, read_text, allowed.transpose(1, 2))
            ),
        )
        text = self.text(text, has_text[:, :, None] & has_text[:, None])
        video = self.video(video, has_video[:, :, None] & has_video[:, None])
        return text, video


class Towers(nn.Module):
    """The encoders of an export. `config` is the `model` of its config.json; `statistics` are its
    input statistics, each `[c]`."""

    def __init__(self, tensors: dict[str, Tensor], config: dict, statistics: dict):
        super().__init__()
        self.config, weights, width = config, Weights(tensors), config["embed_dim"]
        self.register_buffer("mean", torch.tensor(statistics["mean"], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(statistics["scale"], dtype=torch.float32))
        text, video = weights.below("text_embedding"), weights.below("video_embedding")
        self.pieces = nn.Parameter(text["pieces"])
        self.text_positions = nn.Parameter(text["positions"])
        self.text_norm = layer_norm(text.below("norm"), config)
        self.project = linear(video.below("project"), width)
        self.video_positions = nn.Parameter(video["positions"])
        self.video_norm = layer_norm(video.below("norm"), config)
        for side in ("text", "video"):
            layers = config[side]["num_layers"]
            encoder = Encoder(weights.below(f"{side}_encoder"), config, layers)
            self.add_module(f"{side}_encoder", encoder)
            joint = linear(weights.below(f"joint_head.{side}"), config["joint_dim"], bias=False)
            self.add_module(f"{side}_joint", joint)
        cross = weights.below("cross_encoder")
        layers = (
            cross.below(f"layers.{number}") for number in range(config["cross"]["num_layers"])
        )
        self.cross_layers = nn.ModuleList(CrossLayer(layer, config) for layer in layers)
        is_pre = config["norm"] == "pre"
        self.cross_text_norm, self.cross_video_norm = (
            layer_norm(cross.below(name), config) if is_pre else nn.Identity()
            for name in ("text_norm", "video_norm")
        )
        self.pooler = linear(weights.below("pooler.project"), width)
        self.matching = linear(weights.below("matching_head.score"), 1)

    def normalize(self, features: Tensor) -> Tensor:
        """Clip features as the run normalised its inputs."""
        kind = self.config["video"]["input_normalization"]
        if kind == "standardize":
            return (features - self.mean) / self.scale
        if kind == "l2":
            return features / features.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return features

    def video_tower(self, features: Tensor, real: Tensor) -> Tensor:
        """Outputs `[b, v, d]` of features `[b, v, c]`; `real [b, v]` is false where padded."""
        places = self.video_positions[: features.shape[1]]
        return self.video_encoder(
            self.video_norm(self.project(self.normalize(features)) + places), real
        )

    def text_tower(self, ids: Tensor, real: Tensor) -> Tensor:
        """Outputs `[b, t, d]` of piece ids `[b, t]`, [CLS] first and [SEP] last."""
        places = self.text_positions[: ids.shape[1]]
        return self.text_encoder(self.text_norm(self.pieces[ids] + places), real)

    def encode_video(self, features: Tensor, num_clips: Tensor) -> Tensor:
        """Joint embeddings `[b, j]` of norm 1."""
        real = _real(features, num_clips)
        return _unit(self.video_joint(_mean(self.video_tower(features, real), real)))

    def encode_text(self, ids: Tensor, num_pieces: Tensor) -> Tensor:
        """Joint embeddings `[b, j]` of norm 1."""
        real = _real(ids, num_pieces)
        return _unit(self.text_joint(_mean(self.text_tower(ids, real), real)))

    def encode_pair(
        self, features: Tensor, num_clips: Tensor, ids: Tensor, num_pieces: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(fused_video `[b, v, d]`, fused_text `[b, t, d]`, pooled `[b, d]`, matching_logits
        `[b]`); the fused ones are 0 behind a row's own length."""
        has_video, has_text = _real(features, num_clips), _real(ids, num_pieces)
        text, video = self.text_tower(ids, has_text), self.video_tower(features, has_video)
        for layer in self.cross_layers:
            text, video = layer(text, video, has_text, has_video)
        text = self.cross_text_norm(text) * has_text[..., None]
        video = self.cross_video_norm(video) * has_video[..., None]
        pooled = self.pooler(torch.cat([text[:, 0], _mean(video, has_video)], -1)).tanh()
        return video, text, pooled, self.matching(pooled)[:, 0]


def _real(inputs: Tensor, counts: Tensor) -> Tensor:
    return torch.arange(inputs.shape[1], device=inputs.device)[None] < counts[:, None]


def _mean(values: Tensor, real: Tensor) -> Tensor:
    total = (values * real[..., None]).sum(1)
    return total / real.sum(1, keepdim=True).clamp(min=1)


def _unit(values: Tensor) -> Tensor:
    return nn.functional.normalize(values, dim=-1, eps=1e-30)


def load(folder: str | pathlib.Path) -> Towers:
    """The encoders of an export's folder. Raises ExportError where it is none, of a newer version,
    damaged, or of a kind that is not held here."""
    folder = pathlib.Path(folder)
    file, weights = folder / "config.json", folder / "model.safetensors"
    if not file.is_file() or not weights.is_file():
        raise ExportError(f"{folder}: no export, it needs {file.name} and {weights.name}.")
    try:
        config = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ExportError(f"{file}: not JSON ({error}); export anew.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ExportError(f"{file}: not the config of an export of videobert_jax.")
    if config["format_version"] != FORMAT_VERSION:
        raise ExportError(
            f"{file}: version {config['format_version']}, this file reads {FORMAT_VERSION}; take "
            "the pytorch_towers.py of the version that wrote it."
        )
    with weights.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != config["files"][weights.name]["sha256"]:
        raise ExportError(f"{weights}: its sha256 is not the one in {file.name}; copy it anew.")
    if (kind := config["model"]["text"]["input"]) != "pieces":
        raise ExportError(f"{file}: a text tower that reads {kind} is not held here.")
    return Towers(load_file(weights), config["model"], config["statistics"]).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Encodes drawn inputs with an export, in PyTorch.")
    parser.add_argument("folder", help="what `videobert export` wrote")
    try:
        model = load(parser.parse_args().folder)
    except ExportError as error:
        raise SystemExit(f"error: {error}") from error
    torch.manual_seed(0)
    features = torch.randn(2, 5, len(model.mean)) * model.scale + model.mean
    num_clips, num_pieces = torch.tensor([5, 3]), torch.tensor([4, 3])
    ids = torch.tensor([[2, 300, 301, 3], [2, 300, 3, 0]])  # [CLS] pieces [SEP], padded
    with torch.inference_mode():
        video = model.encode_video(features, num_clips)
        text = model.encode_text(ids, num_pieces)
        *_, match = model.encode_pair(features, num_clips, ids, num_pieces)
    print(f"{sum(each.numel() for each in model.parameters()):,} parameters")
    print(
        f"video {list(video.shape)}, text {list(text.shape)}; cosines:\n{(video @ text.T).numpy()}"
    )
    print(f"chance that they belong together: {match.sigmoid().numpy()}")


if __name__ == "__main__":
    main()
