"""Heads of other packages: `model.extra_heads` names their modules by dotted path."""

from typing import Any

import flax.linen as nn

from videobert_jax import extensions
from videobert_jax.models.config import EXTRA_HEADS_SETTING, HEAD_NAMES, ModelConfig


class ExtraHeads(nn.Module):
    """Each module's `Head(config)`, by its dotted path."""

    config: ModelConfig

    def setup(self) -> None:
        self.of = {
            path: extensions.load(path, HEAD_NAMES, EXTRA_HEADS_SETTING).Head(self.config)
            for path in self.config.extra_heads
        }

    def __call__(self, path: str, *inputs: Any) -> Any:
        """What the head at this dotted path gives for inputs."""
        return self.of[path](*inputs)
