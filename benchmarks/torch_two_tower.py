"""The peer on accelerators: our two towers and cross-modal encoder, written for PyTorch.

Equal in size and in losses: fused projections of query, key and value, `scaled_dot_product_
attention`, autocast to bfloat16, layers compiled, fused AdamW. Rows hold one example each, padded.
What differs: mismatched pairs are the neighbouring rows, no pair of a block is left out for being
alike (here none is), weight decay goes over everything, features are taken as they are.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import flop_counter

from videobert_jax import schema
from videobert_jax.models.config import ModelConfig
from videobert_jax.training.config import OptimizerConfig

_IGNORED = -100  # target that PyTorch's cross-entropy leaves out
_NCE_TEMPERATURE = 0.07
_MOST_SHAPES = 64  # of rows for which a layer is compiled
_COMPILERS = ("c++", "g++", "clang++", "cc", "gcc", "clang")
Batch = dict[str, Any]  # tensors by the names below; a mask is None where nothing is padding


def compiler() -> str | None:
    """The C or C++ compiler that torch.compile needs, where there is one."""
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


class Attention(nn.Module):
    """Multi-head attention; of a side over itself with one product for query, key and value."""

    def __init__(self, dim: int, heads: int, within: bool):
        super().__init__()
        self.heads, self.within = heads, within
        if within:
            self.all = nn.Linear(dim, 3 * dim)
        else:
            self.query, self.keys = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, queries: Any, keys: Any, mask: Any) -> Any:
        if self.within:
            query, key, value = self.all(queries).chunk(3, dim=-1)
        else:
            query, (key, value) = self.query(queries), self.keys(keys).chunk(2, dim=-1)
        query, key, value = (
            side.unflatten(-1, (self.heads, -1)).transpose(1, 2) for side in (query, key, value)
        )
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(read.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Self-attention and feed-forward, normed before or behind each branch."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        dim, inner = config.embed_dim, config.feed_forward_dim
        self.attention = Attention(dim, config.num_heads, within=True)
        self.expand, self.contract = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.norms = nn.ModuleList([_norm(config) for _ in range(2)])
        self.dropout, self.pre = nn.Dropout(config.dropout_rate), config.norm == "pre"

    def feed_forward(self, values: Any) -> Any:
        return self.contract(functional.gelu(self.expand(values)))

    def forward(self, values: Any, mask: Any) -> Any:
        def attend(x: Any) -> Any:
            return self.attention(x, x, mask)

        for norm, branch in zip(self.norms, (attend, self.feed_forward), strict=True):
            if self.pre:
                values = values + self.dropout(branch(norm(values)))
            else:
                values = norm(values + self.dropout(branch(values)))
        return values


class CrossLayer(nn.Module):
    """Both sides read each other, then each goes through a layer of its own."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        dim, heads = config.embed_dim, config.num_heads
        shared = config.cross.share_directions
        self.reads = nn.ModuleList([Attention(dim, heads, False) for _ in range(2 - shared)])
        self.norms = nn.ModuleList([_norm(config) for _ in range(2)])
        self.pre = config.norm == "pre"
        self.read_norms = nn.ModuleList([_norm(config) for _ in range(2 * self.pre)])
        self.layers = nn.ModuleList([Layer(config) for _ in range(2)])
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, text: Any, video: Any, text_mask: Any, video_mask: Any) -> tuple[Any, Any]:
        text_reads, video_reads = self.reads[0], self.reads[-1]
        if self.pre:
            seen_text, seen_video = self.read_norms[0](text), self.read_norms[1](video)
            text, video = (
                text + self.dropout(text_reads(self.norms[0](text), seen_video, video_mask)),
                video + self.dropout(video_reads(self.norms[1](video), seen_text, text_mask)),
            )
        else:
            text, video = (
                self.norms[0](text + self.dropout(text_reads(text, video, video_mask))),
                self.norms[1](video + self.dropout(video_reads(video, text, text_mask))),
            )
        return self.layers[0](text, text_mask), self.layers[1](video, video_mask)


class TwoTower(nn.Module):
    """The network with its heads; `forward` gives the loss of a batch."""

    def __init__(self, config: ModelConfig, block_rows: int):
        super().__init__()
        self.block_rows = block_rows
        dim, joint, features = config.embed_dim, config.joint_dim, config.video.feature_dim
        self.pieces = nn.Embedding(config.text.vocabulary_size, dim)
        self.text_positions = nn.Embedding(config.text.max_length, dim)
        self.video_positions = nn.Embedding(config.video.max_length, dim)
        self.project, self.mask = nn.Linear(features, dim), nn.Parameter(torch.zeros(dim))
        self.embedding_norms = nn.ModuleList([_norm(config) for _ in range(2)])
        self.dropout = nn.Dropout(config.dropout_rate)
        self.text_layers = nn.ModuleList([Layer(config) for _ in range(config.text.num_layers)])
        self.video_layers = nn.ModuleList([Layer(config) for _ in range(config.video.num_layers)])
        self.cross_layers = nn.ModuleList(
            [CrossLayer(config) for _ in range(config.cross.num_layers)]
        )
        # Of the towers' outputs and of the fused sides: text, video, text, video.
        self.last_norms = nn.ModuleList(
            [_norm(config) if config.norm == "pre" else nn.Identity() for _ in range(4)]
        )
        self.piece_hidden, self.piece_norm = nn.Linear(dim, dim), _norm(config)
        self.piece_bias = nn.Parameter(torch.zeros(config.text.vocabulary_size))
        self.clip_hidden, self.clip_norm = nn.Linear(dim, dim), _norm(config)
        self.clip_predict = nn.Linear(dim, joint)
        self.clip_target = nn.Linear(features, joint, bias=False)
        self.pooler, self.matching = nn.Linear(2 * dim, dim), nn.Linear(dim, 1)
        self.joint = nn.ModuleList([nn.Linear(dim, joint, bias=False) for _ in range(2)])
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))
        for table in (self.pieces, self.text_positions, self.video_positions):
            nn.init.trunc_normal_(table.weight, std=0.02)

    def compile_parts(self) -> None:
        """Each layer, of which equal ones share a program, and what stands around them."""
        for layer in (*self.text_layers, *self.video_layers, *self.cross_layers):
            layer.compile(dynamic=False)
        self.embed: Callable = torch.compile(self.embed, dynamic=False)
        self.contrast: Callable = torch.compile(self.contrast, dynamic=False)
        self.told: Callable = torch.compile(self.told, dynamic=False)
        self.matched: Callable = torch.compile(self.matched, dynamic=False)

    def embed(self, batch: Batch) -> tuple[Any, Any]:
        text = self.pieces(batch["text_ids"])
        text = text + self.text_positions.weight[: text.shape[1]]
        video = self.project(batch["video_features"])
        video = torch.where(batch["video_masked"][..., None], self.mask, video)
        video = video + self.video_positions.weight[: video.shape[1]]
        text, video = (
            self.dropout(norm(side))
            for norm, side in zip(self.embedding_norms, (text, video), strict=True)
        )
        return text, video

    def encode(self, batch: Batch) -> tuple[Any, Any]:
        text, video = self.embed(batch)
        for layer in self.text_layers:
            text = layer(text, batch["text_mask"])
        for layer in self.video_layers:
            video = layer(video, batch["video_mask"])
        return self.last_norms[0](text), self.last_norms[1](video)

    def fuse(self, text: Any, video: Any, text_mask: Any, video_mask: Any) -> tuple[Any, Any]:
        for layer in self.cross_layers:
            text, video = layer(text, video, text_mask, video_mask)
        return self.last_norms[2](text), self.last_norms[3](video)

    def contrast(self, text: Any, video: Any, batch: Batch) -> Any:
        """Among all examples of the batch, in both directions."""
        one, other = (
            functional.normalize(head(_mean(side, batch[f"{name}_mask"])).float(), dim=-1)
            for head, side, name in zip(self.joint, (text, video), ("text", "video"), strict=True)
        )
        similar = self.log_scale.exp().clamp(max=100.0) * one @ other.T
        labels = torch.arange(len(similar), device=similar.device)
        both = functional.cross_entropy(similar, labels)
        return 0.5 * (both + functional.cross_entropy(similar.T, labels))

    def told(self, text: Any, video: Any, batch: Batch) -> Any:
        """Hidden pieces among all pieces, hidden clips among those of the block."""
        at_slots = _gathered(text, batch["text_slots"])
        hidden = self.piece_norm(functional.gelu(self.piece_hidden(at_slots)))
        logits = functional.linear(hidden, self.pieces.weight.to(hidden.dtype), self.piece_bias)
        pieces = functional.cross_entropy(
            logits.float().flatten(0, 1), batch["text_targets"].flatten()
        )
        at_slots = _gathered(video, batch["video_slots"])
        hidden = self.clip_norm(functional.gelu(self.clip_hidden(at_slots)))
        predicted, targets = (
            functional.normalize(values.float(), dim=-1)
            for values in (self.clip_predict(hidden), self.clip_target(batch["video_features"]))
        )
        length = targets.shape[1]
        predicted, targets = (
            values.reshape(-1, self.block_rows * values.shape[1], values.shape[2])
            for values in (predicted, targets)
        )
        logits = predicted @ targets.mT / _NCE_TEMPERATURE
        if batch["video_mask"] is not None:
            real = batch["video_mask"].reshape(len(targets), 1, -1)
            logits = logits.float().masked_fill(~real, torch.finfo(torch.float32).min)
        row = torch.arange(len(at_slots), device=logits.device) % self.block_rows
        own = torch.where(
            batch["video_slot_weights"] > 0, row[:, None] * length + batch["video_slots"], _IGNORED
        )
        return pieces + functional.cross_entropy(logits.float().flatten(0, 1), own.flatten())

    def matched(self, sides: Sequence[tuple[Any, Any, Any]]) -> Any:
        """Whether text and video of each belong together: those of the first do."""
        losses = []
        for label, (text, video, video_mask) in zip((1.0, 0.0), sides, strict=True):
            both = torch.cat([text[:, 0], _mean(video, video_mask)], dim=-1)
            logits = self.matching(torch.tanh(self.pooler(both)).float())[:, 0]
            losses.append(
                functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
            )
        return 0.5 * sum(losses)

    def forward(self, batch: Batch) -> Any:
        text_mask, video_mask = batch["text_mask"], batch["video_mask"]
        text, video = self.encode(batch)
        contrastive = self.contrast(text, video, batch)
        fused = self.fuse(text, video, text_mask, video_mask)
        told = self.told(*fused, batch)
        others = self._others(video)
        others_mask = None if video_mask is None else self._others(video_mask)
        mismatched = self.fuse(text, others, text_mask, others_mask)
        pairs = [(*fused, video_mask), (*mismatched, others_mask)]
        return contrastive + told + self.matched(pairs)

    def _others(self, rows: Any) -> Any:
        """The rows of a block, each in the place of the next."""
        return rows.unflatten(0, (-1, self.block_rows)).roll(1, 1).flatten(0, 1)


def _norm(config: ModelConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.embed_dim, eps=config.norm_epsilon)


def _mean(values: Any, mask: Any) -> Any:
    if mask is None:
        return values.mean(1)
    weights = mask[:, 0, 0, :, None].to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1)


def _gathered(values: Any, slots: Any) -> Any:
    return torch.gather(values, 1, slots[..., None].expand(-1, -1, values.shape[-1]))


class Peer:
    """The network with its optimizer on a device. Steps are of batches that `batch_of` made."""

    def __init__(
        self,
        config: ModelConfig,
        optimization: OptimizerConfig,
        block_rows: int,
        device: str,
        compiled: bool,
    ):
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")
        self._config, self._block_rows, self._device = config, block_rows, device
        self._network = TwoTower(config, block_rows).to(device).train()
        if compiled:
            torch._dynamo.config.recompile_limit = _MOST_SHAPES
            self._network.compile_parts()
        self._clip_norm = optimization.clip_norm
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(),
            lr=optimization.learning_rate,
            betas=(optimization.b1, optimization.b2),
            eps=optimization.eps,
            weight_decay=optimization.weight_decay,
            fused=True,
        )
        self.num_parameters = sum(p.numel() for p in self._network.parameters())

    def batch_of(self, rows: schema.Batch) -> Batch:
        """Rows of one example each `[b, ...]`, on the device."""
        dtype = getattr(torch, self._config.compute_dtype)
        told = rows.text_slot_weights > 0
        arrays = {
            "text_ids": rows.text_ids.astype(np.int64),
            "video_features": np.asarray(rows.video_features, np.float32),
            "video_masked": rows.video_masked,
            "text_slots": rows.text_slots.astype(np.int64),
            "text_targets": np.where(told, rows.text_targets, _IGNORED).astype(np.int64),
            "video_slots": rows.video_slots.astype(np.int64),
            "video_slot_weights": rows.video_slot_weights,
        }
        batch: Batch = {
            name: torch.tensor(np.asarray(values)).to(self._device)
            for name, values in arrays.items()
        }
        batch["video_features"] = batch["video_features"].to(dtype)
        for side in ("text", "video"):
            real = np.asarray(getattr(rows, f"{side}_segment_ids")) > 0
            mask = torch.tensor(real[:, None, None]).to(self._device)
            batch[f"{side}_mask"] = None if real.all() else mask
        return batch

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self._config.compute_dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self._device, getattr(torch, self._config.compute_dtype))

    def loss(self, batch: Batch) -> Any:
        """Of one forward pass."""
        with self._autocast():
            return self._network(batch)

    def step(self, batch: Batch) -> Any:
        """One training step: forward, backward, clipping, AdamW. The loss, on the device."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        self._optimizer.step()
        return loss.detach()

    def rate(self, batches: Sequence[Batch]) -> float:
        """Examples a second of steps with these batches, waited for at the end."""
        self._wait()
        begun = time.perf_counter()
        for batch in batches:
            self.step(batch)
        self._wait()
        return sum(len(b["text_ids"]) for b in batches) / (time.perf_counter() - begun)

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()

    def flops(self, batch: Batch) -> float:
        """Of the matrix products of one forward and backward pass; nothing is computed."""
        with torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
            network = TwoTower(self._config, self._block_rows)
            like = {
                name: None if values is None else values.to("meta")
                for name, values in batch.items()
            }
            like["video_features"] = like["video_features"].float()
            with flop_counter.FlopCounterMode(display=False) as counter:
                network(like).backward()
        return float(counter.get_total_flops())
