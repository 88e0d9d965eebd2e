"""Figures of a run since the last report: speeds, utilisation, and a line of progress."""

import sys
from collections.abc import Mapping

from videobert_jax.training import wall_time


class Progress:
    """Adds up what steps did, and divides it by the time they took."""

    def __init__(
        self,
        *,
        num_steps: int,
        stage: int | None,
        examples_a_step: int,
        peak_flops: float | None,
        matmul_flops_a_step: float,
        matmul_rate: float,
    ) -> None:
        """stage: its number, None where the run has none.

        Of all devices together: peak_flops, FLOP/s by the data sheet, None where none is known;
        matmul_flops_a_step, of the program's matrix products; matmul_rate, FLOP/s of large ones as
        measured.
        """
        self._num_steps, self.stage = num_steps, stage
        self._examples, self._peak = examples_a_step, peak_flops
        self._matmul_seconds = matmul_flops_a_step / matmul_rate  # a step's products alone
        self._steps = 0
        self._tokens = self._model_flops = 0.0

    def add_step(self, figures: Mapping[str, float]) -> None:
        """Counts a step with its real `tokens` and the `model_flops` that they need."""
        self._steps += 1
        self._tokens += figures["tokens"]
        self._model_flops += figures["model_flops"]

    def speeds(self, spent: Mapping[str, float]) -> dict[str, float | None]:
        """Figures since the last call, which then begin anew; `spent` are the seconds since then
        by kind. Speeds are of training: starting, compiling, saving, evaluating and profiling are
        left out."""
        training = max(sum(spent[kind] for kind in wall_time.TRAINING), 1e-9)
        mfu = None
        if self._peak is not None:
            mfu = self._model_flops / training / self._peak
        figures = {
            "examples_per_second": self._steps * self._examples / training,
            "tokens_per_second": self._tokens / training,
            "data_wait_fraction": spent[wall_time.DATA] / training,
            "seconds_per_step": training / self._steps if self._steps else None,
            "mfu": mfu,
            "matmul_fraction": self._steps * self._matmul_seconds / training,
            **{f"seconds_{kind}": seconds for kind, seconds in spent.items()},
        }
        self._steps, self._tokens, self._model_flops = 0, 0.0, 0.0
        return figures

    def line(self, step: int, figures: Mapping[str, float | None]) -> str:
        """ "step 50/1000  stages.1  loss 3.1416  812 examples/s  mfu 45.0%  3 min 20 s left".

        Where no data sheet is known, the fraction of the measured matmul rate stands for mfu.
        """
        parts = [f"step {step}/{self._num_steps}"]
        if self.stage is not None:
            parts.append(f"stages.{self.stage}")
        if (loss := figures.get("loss")) is not None:
            parts.append(f"loss {loss:.4f}")
        if (rate := figures.get("examples_per_second")) is not None:
            parts.append(f"{rate:.0f} examples/s")
        if (mfu := figures.get("mfu")) is not None:
            parts.append(f"mfu {mfu:.1%}")
        elif (fraction := figures.get("matmul_fraction")) is not None:
            parts.append(f"matmul {fraction:.1%}")
        if (seconds := figures.get("seconds_per_step")) is not None:
            parts.append(f"{wall_time.duration((self._num_steps - step) * seconds)} left")
        return "  ".join(parts)


def show(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stdout, flush=True)
