"""Settings of a run; meaning and defaults stand in configs/base.py."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: float
    warmup_steps: int
    end_learning_rate_fraction: float
    weight_decay: float
    b1: float
    b2: float
    eps: float
    clip_norm: float


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    num_steps: int
    accumulation_steps: int
    log_every: int
    save_every: int
    eval_every: int
    keep_checkpoints: int
    profile_first_step: int
    profile_steps: int

    def __post_init__(self) -> None:
        for name in ("num_steps", "accumulation_steps", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name}={getattr(self, name)} is less than 1.")


@dataclasses.dataclass(frozen=True)
class InitConfig:
    checkpoint: str
    modules: tuple[str, ...]
