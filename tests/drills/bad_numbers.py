"""Numbers go bad for twenty steps of a real run: it must go back, and end with the bits of a run
that never had the batches of those steps; parameters are finite in every checkpoint, and the loss
of the last steps is within one percent of a clean run's.

    python -m tests.drills.bad_numbers [--seed N] [--shard I/N] [--results FILE] [--without-guard]

NaN, infinity and 1e30 appear in the clip features of whole batches, in those of one block, which
one device holds, in the loss, and in the gradient. Of features, which are float16, 1e30 is the
largest number; a run may live with it, and then need not go back. Features are spoilt behind the
checks of the input. A case is a line of the results file
at once, and one that passed with this code is not run again. With --without-guard every update is
taken: then cases must fail, which shows that the drill bites.
"""

import contextlib
import dataclasses
import functools
import itertools
import pathlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from tests.drills import campaign
from tests.integration import runs
from videobert_jax.cli import failures
from videobert_jax.data.block import BlockBuilder
from videobert_jax.training import (
    abstract_step,
    checkpoint_bundle,
    checkpoint_folder,
    guard,
    means,
    rollback,
    steps,
)

PLACES = ("features", "one_block", "loss", "gradient")
VALUES = {"nan": np.nan, "inf": np.inf, "1e30": 1e30}
NUM_STEPS, BAD_STEPS = 70, 20
_LAST_STEPS = 10
_LOSS = 0.01  # by which the loss of the last steps may differ from a clean run's
_BATCH = runs.SETTINGS["data.blocks_per_batch"]
_BLOCK = 5  # of a batch, on one of the devices
_SETTINGS = {
    "training__num_steps": NUM_STEPS,
    "training__save_every": 10,
    "training__keep_checkpoints": 9,
    "training__max_skipped_updates": BAD_STEPS,
}
_build = BlockBuilder.build
# A step is traced at every opening of a run, not once for all runs of this process.
_TRACED_ANEW = (abstract_step, "made", abstract_step.made.__wrapped__)


@dataclasses.dataclass
class Fault:
    """What goes wrong, from `first` on for BAD_STEPS batches, until the run has gone back."""

    place: str
    value: float
    first: int
    workdir: pathlib.Path
    step: Any = None  # of the step that is traced
    gradients_next: bool = False

    def __enter__(self) -> "Fault":
        fault, begin, weighted = self, steps._Problem.__init__, means.Means.weighted
        laid_out = steps.laid_out_for_update
        self._patches = contextlib.ExitStack()

        def started(problem: Any, model: Any, config: Any, batch: Any, state: Any, seed: int):
            begin(problem, model, config, batch, state, seed)
            fault.step, fault.gradients_next = state.step, True

        def spoilt_loss(of_batch: means.Means, totals: Any) -> jax.Array:
            return weighted(of_batch, totals) * jnp.where(fault.acts(), fault.value, 1.0)

        def spoilt_gradient(tree: Any, model: Any, rule: Any) -> Any:
            if fault.gradients_next:  # the step lays out gradients first, then parameters
                fault.gradients_next = False
                leaves, structure = jax.tree.flatten(tree)
                leaves[0] = leaves[0] + jnp.where(fault.acts(), fault.value, 0.0)
                tree = jax.tree.unflatten(structure, leaves)
            return laid_out(tree, model, rule)

        traced = [_TRACED_ANEW, (steps._Problem, "__init__", started)]  # which says when
        patches: dict[str, list[tuple[Any, str, Any]]] = {
            "features": [(BlockBuilder, "build", self._features(range(_BATCH)))],
            "one_block": [(BlockBuilder, "build", self._features([_BLOCK]))],
            "loss": [*traced, (means.Means, "weighted", spoilt_loss)],
            "gradient": [*traced, (steps, "laid_out_for_update", spoilt_gradient)],
        }
        for where, name, replaced in patches[self.place]:
            self._patches.enter_context(mock.patch.object(where, name, replaced))
        return self

    def __exit__(self, *exception: object) -> None:
        self._patches.close()

    def acts(self) -> Any:
        """Whether it goes wrong at the step that is traced."""
        if rollback.recorded(self.workdir):  # when the step is traced, here at every opening
            return False
        return (self.step >= self.first) & (self.step < self.first + BAD_STEPS)

    def _features(self, blocks: Any) -> Any:
        def build(builder: BlockBuilder, k: int):
            made = _build(builder, k)
            batch, block = divmod(k, _BATCH)
            if not (self.first <= batch < self.first + BAD_STEPS and block in blocks):
                return made
            features = made.batch.video_features.copy()
            largest = np.finfo(np.float16).max
            features[0, 0] = min(self.value, largest) if np.isfinite(self.value) else self.value
            spoilt = dataclasses.replace(made.batch, video_features=features)
            return dataclasses.replace(made, batch=spoilt)

        return build


class Drill:
    """Cases on one dataset, each compared with the run that never had the bad batches, and with one
    whose batches are all good."""

    def __init__(
        self,
        folder: pathlib.Path,
        results: campaign.Results,
        seed: int,
        guarded: bool,
        *,
        first: range = range(12, 29),
        **settings: Any,
    ) -> None:
        """first: steps of which one is drawn to be the first bad one. settings: others than the
        drill's."""
        self.folder, self.results, self.guarded = folder, results, guarded
        self.first = random.Random(seed).choice(first)
        self.settings = {**_SETTINGS, **settings}
        self.num_steps = self.settings["training__num_steps"]
        self.dataset = campaign.write_dataset(folder / "dataset", {"train": 16})

    @functools.cached_property
    def reference(self) -> dict[str, Any]:
        """Digests of the end of the run whose batches jump over the bad ones."""
        limit = self.first * _BATCH

        def without(builder: BlockBuilder, k: int):
            return _build(builder, k if k < limit else k + BAD_STEPS * _BATCH)

        with mock.patch.object(BlockBuilder, "build", without):
            self._train("reference")
        return runs.saved_digests(self.folder / "reference", self.num_steps)

    @functools.cached_property
    def clean_loss(self) -> float:
        """Of the last steps, where no batch is bad."""
        self._train("clean")
        return self._last_loss("clean")

    def case(self, place: str, value: str) -> bool:
        """Whether the run did as it must; written to the results."""
        begun, name = time.monotonic(), f"{place}-{value}"
        expected, workdir = self.reference, self.folder / name
        # The largest number that a feature can have is one that a network can live with.
        may_live = place in ("features", "one_block") and value == "1e30"
        with contextlib.ExitStack() as stack:
            if not self.guarded:
                always = mock.patch.object(guard, "allowed", lambda *_: jnp.bool_(True))
                stack.enter_context(always)
                stack.enter_context(mock.patch.object(*_TRACED_ANEW))
            stack.enter_context(Fault(place, VALUES[value], self.first, workdir))
            self._train(name)
        finite = all(_finite(workdir, step) for step in checkpoint_folder.manifest_steps(workdir))
        back = len(rollback.recorded(workdir))
        equal = runs.saved_digests(workdir, self.num_steps) == expected
        ratio = self._last_loss(name) / self.clean_loss
        passed = finite and (equal if back else may_live) and abs(ratio - 1) <= _LOSS
        self.results.note(
            place=place,
            value=value,
            first_bad_step=self.first,
            rollbacks=back,
            finite=finite,
            equal=equal,
            loss_by_clean=ratio if np.isfinite(ratio) else str(ratio),
            passed=passed,
            seconds=round(time.monotonic() - begun, 1),
        )
        return passed

    def _train(self, name: str) -> None:
        ended = runs.train(self.folder / name, self.dataset, **self.settings)
        if not ended.finished:
            raise KeyboardInterrupt  # by a signal, which the run took for its own

    def _last_loss(self, name: str) -> float:
        losses = [line["loss"] for line in runs.figures(self.folder / name) if "loss" in line]
        return float(np.mean(np.array(losses[-_LAST_STEPS:], float)))  # null is NaN

    def done(self) -> set[tuple[str, str]]:
        """Cases that passed with this code."""
        found = [line for line in self.results.lines() if line["passed"]]
        return {(line["place"], line["value"]) for line in found}


def _finite(workdir: pathlib.Path, step: int) -> bool:
    params = checkpoint_bundle.load(f"{workdir}@{step}", "raw").variables["params"]
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def cases() -> Iterator[tuple[str, str]]:
    return itertools.product(PLACES, VALUES)


def main() -> int:
    """0 where every case did as it must, 1 where one did not."""
    parser = campaign.parser(
        __doc__,
        "bad_numbers.jsonl",
        seed_of="the first bad step",
        without="every update is taken",
    )
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)
    failed = []
    with tempfile.TemporaryDirectory(prefix="bad_numbers_") as name:
        folder, guarded = pathlib.Path(name), not arguments.without_guard
        about = {"seed": arguments.seed, "guarded": guarded}
        results = campaign.Results(arguments.results, about)
        drill = Drill(folder, results, arguments.seed, guarded)
        done = drill.done() if guarded else set()
        for place, value in list(cases())[arguments.shard]:
            if (place, value) in done:
                continue
            if not drill.case(place, value):
                failed.append(f"{value} in {place}")
            verdict = "failed" if f"{value} in {place}" in failed else "as it must"
            print(f"{place} {value}: {verdict}", flush=True)
    print(f"not as it must: {', '.join(failed)}" if failed else "every case went as it must")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
