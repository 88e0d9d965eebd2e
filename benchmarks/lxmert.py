"""The peer of the training step: LXMERT of Hugging Face, trained by PyTorch with fused AdamW."""

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from videobert_jax import schema
from videobert_jax.files import extras


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The network that both sides build, and the batch that both train on."""

    embed_dim: int = 512
    num_heads: int = 8
    feed_forward_dim: int = 2048
    text_layers: int = 4
    video_layers: int = 4
    cross_layers: int = 2
    vocabulary: int = 8192
    feature_dim: int = 1024
    rows: int = 32
    text_length: int = 48
    video_length: int = 64
    masked_text: int = 8  # predicted pieces a row
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.0
    clip_norm: float = 1.0
    learning_rate: float = 1e-4
    weight_decay: float = 0.01


@dataclasses.dataclass(frozen=True)
class Form:
    """How it runs. device: PyTorch's name. compute_dtype: of products, by autocast. compiled: its
    layers are, by torch.compile."""

    device: str = "cpu"
    compute_dtype: str = "float32"
    compiled: bool = False


_IGNORED = -100  # target that PyTorch's cross-entropy leaves out
Batch = dict[str, Any]  # tensors by the names that `LxmertModel` has for them, slots and targets


def _modeling() -> Any:
    return extras.require("transformers.models.lxmert.modeling_lxmert", "parity")


def network_config(sizes: Sizes) -> Any:
    """LxmertConfig of these sizes."""
    return _modeling().LxmertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.embed_dim,
        num_attention_heads=sizes.num_heads,
        intermediate_size=sizes.feed_forward_dim,
        l_layers=sizes.text_layers,
        r_layers=sizes.video_layers,
        x_layers=sizes.cross_layers,
        max_position_embeddings=sizes.text_length,
        visual_feat_dim=sizes.feature_dim,
        hidden_dropout_prob=sizes.hidden_dropout,
        attention_probs_dropout_prob=sizes.attention_dropout,
    )


def network(sizes: Sizes) -> Any:
    """LxmertModel of these sizes, its parameters drawn."""
    return _modeling().LxmertModel(network_config(sizes))


class Peer:
    """LXMERT with its word head on gathered positions, and the same losses as ours.

    It has a batch of its own, full of random pieces and clips; others are made by `batch_of`. A
    step may take its gradients from several batches, one after another.
    """

    def __init__(self, sizes: Sizes, threads: int, form: Form | None = None):
        torch = extras.require("torch", "parity")
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self._torch, self._sizes, self._form = torch, sizes, form or Form()
        self._network, self._head = self._build()
        for module in (self._network, self._head):
            module.to(self._form.device).train()
        if self._form.compiled:
            encoder = self._network.encoder
            for layer in (*encoder.layer, *encoder.r_layers, *encoder.x_layers):
                layer.compile(dynamic=False)
        # Tied to the embeddings, as Hugging Face ties it in LxmertForPreTraining.
        self._head.decoder.weight = self._network.embeddings.word_embeddings.weight
        parameters = {
            id(parameter): parameter
            for module in (self._network, self._head)
            for parameter in module.parameters()
        }
        self._parameters = list(parameters.values())
        self.num_parameters = sum(parameter.numel() for parameter in self._parameters)
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=sizes.learning_rate,
            weight_decay=sizes.weight_decay,
            fused=True,
        )
        self._full = self._make_batch()
        self._losses: list[Any] = []

    def _build(self) -> tuple[Any, Any]:
        """(LXMERT, its head that predicts pieces)."""
        config = network_config(self._sizes)
        return network(self._sizes), _modeling().LxmertLMPredictionHead(config)

    @property
    def losses(self) -> list[float]:
        """Of every step."""
        return [float(loss) for loss in self._losses]

    def _make_batch(self) -> dict[str, Any]:
        torch, sizes = self._torch, self._sizes
        generator = np.random.default_rng(0)
        rows, text, video = sizes.rows, sizes.text_length, sizes.video_length
        slots = np.stack([generator.permutation(text)[: sizes.masked_text] for _ in range(rows)])
        made = {
            "input_ids": torch.tensor(generator.integers(5, sizes.vocabulary, (rows, text))),
            "visual_feats": torch.tensor(
                generator.normal(size=(rows, video, sizes.feature_dim)), dtype=torch.float32
            ),
            "visual_pos": torch.zeros(rows, video, 4),
            "attention_mask": torch.ones(rows, text),
            "visual_attention_mask": torch.ones(rows, video),
            "slots": torch.tensor(slots),
            "targets": torch.tensor(
                generator.integers(5, sizes.vocabulary, (rows, sizes.masked_text))
            ),
        }
        return self._on_device(made)

    def _on_device(self, batch: Batch) -> Batch:
        return {name: values.to(self._form.device) for name, values in batch.items()}

    def batch_of(self, rows: schema.Batch) -> Batch:
        """Rows of one example each `[b, ...]`, with masks in the place of segments."""
        torch = self._torch
        text, video = rows.text_segment_ids > 0, rows.video_segment_ids > 0
        predicted = rows.text_slot_weights > 0
        made = {
            "input_ids": torch.tensor(rows.text_ids, dtype=torch.int64),
            "visual_feats": torch.tensor(rows.video_features, dtype=torch.float32),
            "visual_pos": torch.zeros(*video.shape, 4),
            "attention_mask": torch.tensor(text, dtype=torch.float32),
            "visual_attention_mask": torch.tensor(video, dtype=torch.float32),
            "slots": torch.tensor(rows.text_slots, dtype=torch.int64),
            "targets": torch.tensor(
                np.where(predicted, rows.text_targets, _IGNORED), dtype=torch.int64
            ),
        }
        return self._on_device(made)

    def _loss(self, batch: Batch, network: Any, head: Any) -> Any:
        torch = self._torch
        inputs = dict(batch)
        slots, targets = inputs.pop("slots"), inputs.pop("targets")
        outputs = network(**inputs)
        index = slots[..., None].expand(-1, -1, self._sizes.embed_dim)
        logits = head(torch.gather(outputs.language_output, 1, index))
        words = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        return words + outputs.vision_output.square().mean()

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self._form.compute_dtype == "float32":
            return contextlib.nullcontext()
        dtype = getattr(self._torch, self._form.compute_dtype)
        return self._torch.autocast(self._form.device, dtype)

    def step(self, batches: Sequence[Batch] = ()) -> None:
        """One training step: forward and backward of every batch, clipping, AdamW."""
        batches = batches or [self._full]
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for batch in batches:
            with self._autocast():
                loss = self._loss(batch, self._network, self._head) / len(batches)
            loss.backward()
            losses.append(loss.detach())
        self._torch.nn.utils.clip_grad_norm_(self._parameters, self._sizes.clip_norm)
        self._optimizer.step()
        self._losses.append(sum(losses))

    def flops(self, batch: Batch | None = None) -> float:
        """Of the matrix products of one forward and backward pass; nothing is computed."""
        counting = extras.require("torch.utils.flop_counter", "parity")
        like = {name: values.to("meta") for name, values in (batch or self._full).items()}
        with self._torch.device("meta"):
            network, head = self._build()
            with counting.FlopCounterMode(display=False) as counter:
                self._loss(like, network, head).backward()
        return float(counter.get_total_flops())

    def examples_per_second(self, count: int) -> float:
        """Of `count` steps on its own batch."""
        return self.rate([[self._full]] * count)

    def rate(self, steps: Sequence[Sequence[Batch]]) -> float:
        """Examples a second of these steps, each of the batches it names."""
        self._wait()
        begun = time.perf_counter()
        for batches in steps:
            self.step(batches)
        self._wait()
        seconds = time.perf_counter() - begun
        return sum(len(batch["input_ids"]) for batches in steps for batch in batches) / seconds

    def _wait(self) -> None:
        if self._form.device == "cuda":
            self._torch.cuda.synchronize()
