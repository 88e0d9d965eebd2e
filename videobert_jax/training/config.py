"""Settings of a run; meaning and defaults stand in configs/base.py."""

import dataclasses

WORD_EMBEDDINGS = ("centroids", "random")


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
    layer_decay: float
    frozen: tuple[str, ...]
    ema_decay: float
    shard_over_data: bool
    spike_factor: float

    def __post_init__(self) -> None:
        for name in ("learning_rate", "warmup_steps", "weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"optimizer.{name}={getattr(self, name)} is less than 0.")
        for name in ("b1", "b2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(
                    f"optimizer.{name}={getattr(self, name)} is outside [0, 1); Adam's moments "
                    "keep so much of what they were."
                )
        if not self.eps > 0:
            raise ValueError(f"optimizer.eps={self.eps}; expected more than 0, such as 1e-8.")
        if self.spike_factor and self.spike_factor <= 1.0:
            raise ValueError(
                f"optimizer.spike_factor={self.spike_factor} would skip every other update; give a "
                "number above 1, or 0 to skip only what is not finite."
            )
        if not 0.0 < self.layer_decay <= 1.0:
            raise ValueError(
                f"optimizer.layer_decay={self.layer_decay} is outside (0, 1]; 1.0 gives all layers "
                "the same learning rate."
            )
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(
                f"optimizer.ema_decay={self.ema_decay} is outside [0, 1); 0.0 keeps no average."
            )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    num_steps: int
    accumulation_steps: int
    log_every: int
    save_every: int
    eval_every: int
    eval_tasks: tuple[str, ...]
    best_metric: str
    best_is_highest: bool
    keep_checkpoints: int
    max_skipped_updates: int
    max_rollbacks: int
    step_timeout_seconds: float
    profile_first_step: int
    profile_steps: int
    profile_memory_step: int
    wandb_project: str

    def __post_init__(self) -> None:
        for name in ("num_steps", "accumulation_steps", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name}={getattr(self, name)} is less than 1.")
        if self.max_skipped_updates < 1:
            raise ValueError(
                f"training.max_skipped_updates={self.max_skipped_updates} is less than 1."
            )
        if self.step_timeout_seconds < 0:
            raise ValueError(
                f"training.step_timeout_seconds={self.step_timeout_seconds} is below 0; give "
                "seconds, or 0 to wait for ever."
            )
        if self.profile_first_step and self.profile_steps < 1:
            raise ValueError(
                f"training.profile_steps={self.profile_steps} is less than 1; "
                "training.profile_first_step=0 makes no profile."
            )

        task, _, figure = self.best_metric.partition("/")
        if self.best_metric and not (figure and task in self.eval_tasks and self.eval_every):
            raise ValueError(
                f"training.best_metric={self.best_metric!r} is no figure of an evaluation during "
                f"training: expected TASK/FIGURE with TASK of training.eval_tasks="
                f"{','.join(self.eval_tasks) or '(none)'}, and training.eval_every above 0, found "
                f"{self.eval_every}."
            )

    def evaluates_at(self, step: int) -> bool:
        """Whether evaluators run on the parameters of this step."""
        due = step > 0 and self.eval_every > 0
        return due and (step % self.eval_every == 0 or step == self.num_steps)


@dataclasses.dataclass(frozen=True)
class InitConfig:
    checkpoint: str
    modules: tuple[str, ...]
    bert: str
    bert_video_layers: int
    visual_word_embeddings: str

    def __post_init__(self) -> None:
        if self.visual_word_embeddings not in WORD_EMBEDDINGS:
            raise ValueError(
                f"init.visual_word_embeddings={self.visual_word_embeddings!r} is none of "
                f"{', '.join(WORD_EMBEDDINGS)}."
            )
        if self.bert_video_layers < 0:
            raise ValueError(f"init.bert_video_layers={self.bert_video_layers} is below 0.")
        if self.bert_video_layers and not self.bert:
            raise ValueError(
                f"init.bert_video_layers={self.bert_video_layers} needs init.bert, found none; say "
                "--config.init.bert=DIR, or set it to 0."
            )
        if self.bert and self.checkpoint and not self.modules:
            raise ValueError(
                "init.bert and init.checkpoint, which takes everything, exclude each other; name "
                "the checkpoint's part: --config.init.modules=video_tower."
            )
