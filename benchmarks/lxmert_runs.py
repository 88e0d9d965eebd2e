"""LXMERT of Hugging Face pretrained and fine-tuned on the embedded corpus, by PyTorch on CPU.

A run is a folder. Its state is kept every `SAVE_EVERY` steps, so that a run that was stopped goes
on to the same weights, and a finished one, which has its weights, is not run again. Steps,
examples a step, warm-up, cosine, decay and clipping are those of our network's config.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import lxmert_kitchen
from benchmarks.lxmert_kitchen import EXTRA, IGNORED, Arrays, Corpus
from videobert_jax.files import digests, extras
from videobert_jax.files.progress import Progress
from videobert_jax.training import optimizer

SAVE_EVERY = 100
WEIGHTS, STATE = "weights.pt", "state.pt"
Tensors = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a stage trains: how its network is made, its rows of block k, its loss.

    build: of a corpus, the pretrained LXMERT in `.lxmert` but that its parameters are new.
    """

    build: Callable[[Corpus], Any]
    rows: Callable[[Corpus, int], Arrays]
    loss: Callable[[Any, Tensors], Any]


def torch() -> Any:
    """PyTorch, on as many threads as OMP_NUM_THREADS says, else as this process has cores. Raises
    MissingExtra."""
    # Read when PyTorch is loaded. Threads that spin while they wait keep cores from each other as
    # soon as something else runs: 20 steps of pretraining took 37 s of CPU time, passively 7.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    found: Any = extras.require("torch", EXTRA)
    if "OMP_NUM_THREADS" not in os.environ:
        affinity = getattr(os, "sched_getaffinity", None)
        found.set_num_threads(len(affinity(0)) if affinity else os.cpu_count() or 1)
    return found


def tensors(arrays: Arrays) -> Tensors:
    return {name: torch().from_numpy(np.ascontiguousarray(of)) for name, of in arrays.items()}


def _modeling() -> Any:
    torch()  # sets its threads before transformers loads it
    return extras.require("transformers.models.lxmert.modeling_lxmert", EXTRA)


def _pretraining(corpus: Corpus) -> Any:
    return _modeling().LxmertForPreTraining(lxmert_kitchen.network_config(corpus))


def _pretraining_loss(network: Any, batch: Tensors) -> Any:
    """LXMERT's own: masked words, features of hidden clips, and matching, each of weight 1, the
    features by Hugging Face's factor. Of text alone masked words."""
    given = dict(batch)
    labels = given.pop("labels")
    if bool((labels != IGNORED).any()):  # else the mean over no word
        given["labels"] = labels
    if "features" in given:
        given["obj_labels"] = {"feat": (given.pop("features"), given.pop("feature_weights"))}
    return network(**given).loss


def _answering(corpus: Corpus) -> Any:
    return _modeling().LxmertForQuestionAnswering(lxmert_kitchen.network_config(corpus))


def _own_loss(network: Any, batch: Tensors) -> Any:
    """The network's own, of what the batch has targets of."""
    return network(**batch).loss


def _segmentation(corpus: Corpus) -> Any:
    config = lxmert_kitchen.network_config(corpus)
    nn = torch().nn
    head = nn.Linear(config.hidden_size, len(corpus.lists.clip_labels) + 1)
    return nn.ModuleDict({"lxmert": _modeling().LxmertModel(config), "head": head})


def _segmentation_loss(network: Any, batch: Tensors) -> Any:
    given = dict(batch)
    labels = given.pop("labels")
    logits = network["head"](network["lxmert"](**given).vision_output)
    return torch().nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED
    )


OBJECTIVES = {
    "pretrained": Objective(_pretraining, lxmert_kitchen.pretraining_rows, _pretraining_loss),
    "qa": Objective(_answering, lxmert_kitchen.answering_rows, _own_loss),
    "localization": Objective(_pretraining, lxmert_kitchen.matching_rows, _own_loss),
    "segmentation": Objective(_segmentation, lxmert_kitchen.segmentation_rows, _segmentation_loss),
}


def weights_file(run: pathlib.Path) -> pathlib.Path:
    return run / WEIGHTS


def described(run: pathlib.Path) -> dict[str, Any]:
    """What a record says of the network of a finished run."""
    file = weights_file(run)
    return {"system": "LxmertModel", "file": str(file), "sha256": digests.sha256_file(file)}


def load(run: pathlib.Path, corpus: Corpus, stage: str) -> Any:
    """The network of a finished run, to be evaluated."""
    network = OBJECTIVES[stage].build(corpus)
    network.load_state_dict(torch().load(weights_file(run), weights_only=True))
    return network.eval()


def train(
    run: pathlib.Path,
    corpus: Corpus,
    stage: str,
    learning_rate: float,
    begins_with: pathlib.Path | None = None,
    most: int | None = None,
) -> None:
    """Trains a run to its end, or for `most` more steps; nothing where it is finished.

    begins_with: a pretrained run, whose LXMERT and heads it begins with. Seeded by the corpus' run.
    """
    if weights_file(run).is_file():
        return
    run.mkdir(parents=True, exist_ok=True)
    training = _Training(run, corpus, OBJECTIVES[stage], learning_rate, begins_with)
    steps = corpus.run.training.num_steps
    last = steps if most is None else min(steps, training.step + most)
    progress = Progress("examples", (last - training.step) * corpus.run.data.block_size, run.name)
    while training.step < last:
        training.take_step()
        progress.step(corpus.run.data.block_size)
        if training.step % SAVE_EVERY == 0 or training.step == last:
            training.save()
    if last == steps:
        training.finish()


class _Training:
    """Network, optimizer and step of a run, as it left them."""

    def __init__(
        self,
        run: pathlib.Path,
        corpus: Corpus,
        objective: Objective,
        learning_rate: float,
        begins_with: pathlib.Path | None,
    ):
        self._torch = torch()
        self._run, self._corpus, self._objective = run, corpus, objective
        settings = dataclasses.replace(corpus.run.optimizer, learning_rate=learning_rate)
        self._clip_norm = settings.clip_norm
        self._schedule = optimizer.learning_rate(settings, corpus.run.training.num_steps)
        self._torch.manual_seed(corpus.run.seed)
        self._network = objective.build(corpus).train()
        if begins_with is not None:
            _take_over(self._network, weights_file(begins_with))
        parameters = list(self._network.parameters())
        # biases and norms do not decay, as in our network
        groups = [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": settings.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = self._torch.optim.AdamW(
            groups, lr=learning_rate, betas=(settings.b1, settings.b2), eps=settings.eps, fused=True
        )
        self.step = 0
        if (run / STATE).is_file():
            self._resume()

    def _resume(self) -> None:
        state = self._torch.load(self._run / STATE, weights_only=True)
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._torch.set_rng_state(state["random"])
        self.step = state["step"]

    def take_step(self) -> None:
        batch = tensors(self._objective.rows(self._corpus, self.step))
        for group in self._optimizer.param_groups:
            group["lr"] = float(np.asarray(self._schedule(self.step)))
        self._optimizer.zero_grad(set_to_none=True)
        self._objective.loss(self._network, batch).backward()
        self._torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        self._optimizer.step()
        self.step += 1

    def save(self) -> None:
        state = {
            "step": self.step,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._torch.get_rng_state(),
        }
        self._write(state, STATE)

    def finish(self) -> None:
        self._write(self._network.state_dict(), WEIGHTS)
        (self._run / STATE).unlink()

    def _write(self, value: Any, name: str) -> None:
        """Whole or not at all."""
        beside = self._run / f"{name}.part"
        self._torch.save(value, beside)
        os.replace(beside, self._run / name)


def _take_over(network: Any, file: pathlib.Path) -> None:
    """Puts what a pretrained run's weights have of a network, LXMERT and of heads those that it has
    too, in the place of what is new."""
    own, found = network.state_dict(), torch().load(file, weights_only=True)
    network.load_state_dict({**own, **{name: of for name, of in found.items() if name in own}})
