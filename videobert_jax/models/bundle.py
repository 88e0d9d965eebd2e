"""A trained model with all that is needed to use it and to judge what it gives."""

import dataclasses
from typing import Any

from videobert_jax.data.config import DataConfig
from videobert_jax.models.config import EXTRA_HEADS, ModelConfig
from videobert_jax.objectives import config as objectives
from videobert_jax.objectives.config import BOTH, VIDEO
from videobert_jax.schema import FeatureContract

HEADS = set(objectives.HEADS.values())


def without_extra_heads(
    config: ModelConfig, variables: dict[str, Any]
) -> tuple[ModelConfig, dict[str, Any]]:
    """A network's settings and variables without the heads of other packages, which only training
    needs: to use or to export what was trained imports none of them."""
    params = {name: of for name, of in variables["params"].items() if name != EXTRA_HEADS}
    return dataclasses.replace(config, extra_heads=()), {**variables, "params": params}


@dataclasses.dataclass(frozen=True)
class ModelBundle:
    """What a workdir's checkpoint and an export both hold.

    `variables` is `{"params": ..., "constants": {"video_embedding": {"mean": [c], "scale": [c]},
    ...}}` with the layers of a stack stacked on axis 0, as `VideoBert.apply` takes it; NumPy's or
    jax's. Further constants are those of the network's other modules, such as a tree of visual
    words.
    `tokenizer_model` is what `text.tokenizer.Tokenizer` reads. `trained_on` is `{"datasets":
    [{"name", "path", "digest", "split", "video_names_digest"}], "video_names": [...], "heads":
    [...]}`; evaluation computes from it what it saw in training. `answers` are those that the
    answer head tells, by number, `clip_labels` those of clips; () without one. `digest` is that of
    the checkpoint's parameters: an export keeps it. `weights` says which of a run's they are, one
    of `config.WEIGHTS`. `captioning_inputs` is objectives.captioning.inputs of a run that learnt to
    write captions, None of one that did not, or of an export that is older than the field.
    """

    config: ModelConfig
    data: DataConfig
    variables: dict[str, Any]
    tokenizer_model: bytes
    contract: FeatureContract
    trained_on: dict[str, Any]
    answers: tuple[str, ...]
    clip_labels: tuple[str, ...]
    step: int
    digest: str
    weights: str
    name: str
    captioning_inputs: str | None

    @property
    def untrained_heads(self) -> set[str]:
        """Heads that the network has, and that neither its run nor one that they were taken over
        from trained. None of a run or an export that does not say: of what is older than the field.
        """
        trained = self.trained_on.get("heads")
        return set() if trained is None else (HEADS & set(self.config.modules)) - set(trained)

    @property
    def longest_run(self) -> int:
        """Clips of the longest run that the video tower was trained on."""
        drawing, longest = self.data.drawing, self.config.video.max_length
        run = drawing.overlapped_max_clips if drawing.overlapped_examples else longest
        return min(run, self.data.video_length, longest)

    @property
    def maximum_pieces(self) -> int:
        """Of one text, [CLS] and [SEP] included, as in training."""
        return min(self.data.text_length, self.config.text.max_length)

    @property
    def maximum_target_pieces(self) -> int:
        """Of a caption that is written, [SEP] included, as in training."""
        return min(self.data.target_length, self.config.text.max_length)

    @property
    def captions_read(self) -> str | None:
        """What captions are told from, as in training, one of `CAPTIONING_INPUTS`; None where that
        is not known. Where the text beside the clips was the caption itself, some of its words
        hidden, only the clips are left."""
        if self.captioning_inputs == BOTH and not self.data.sources[0].transcripts:
            return VIDEO
        return self.captioning_inputs
