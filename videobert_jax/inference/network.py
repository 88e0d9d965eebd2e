"""A trained network with its compiled programs: checked inputs in, NumPy out."""

import dataclasses
import functools
import os
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from videobert_jax.inference import inputs, programs, rows
from videobert_jax.inference.inputs import InputError, Side, Texts, Videos
from videobert_jax.inference.reading import MAXIMUM_SECONDS, VideoReader
from videobert_jax.inference.windows import Cut
from videobert_jax.models import encoder, single_rows
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.schema import FeatureContract
from videobert_jax.text.tokenizer import Tokenizer

_PROGRAMS = (
    programs.video_vectors,
    programs.text_vectors,
    single_rows.pairs,
    programs.matching_logits,
    programs.answer_logits,
    programs.piece_logits,
    programs.cross_attention,
    single_rows.rollout,
    programs.visual_words,
)


_TOWERS = ("text_encoder", "video_encoder")


class Network:
    """What every call of a model shares."""

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        backbone_weights: str | os.PathLike | None = None,
        maximum_seconds: float | int = MAXIMUM_SECONDS,
    ):
        """backbone_weights: published file of the network that extracts clip features of videos,
        where no package brings it, as `videobert extract --weights` takes it. maximum_seconds: of
        the longest video that is extracted."""
        self.bundle = bundle
        self.tokenizer = Tokenizer(bundle.tokenizer_model)
        self.reader = VideoReader(bundle, backbone_weights, maximum_seconds)
        # At once: `jnp.asarray` would compile a program for every shape of a leaf.
        self._variables = jax.device_put(_as_run(bundle.variables))
        self.programs, self._captions = _jitted(bundle.config)

    @property
    def contract(self) -> FeatureContract:
        """How the clip features have to be made."""
        return self.bundle.contract

    @property
    def maximum_clips(self) -> int:
        """Clips of the longest run of training, and of a window of a longer video."""
        return self.bundle.longest_run

    @property
    def maximum_pieces(self) -> int:
        """Pieces of the longest text, [CLS] and [SEP] counted."""
        return self.bundle.maximum_pieces

    def features(self, video: Videos) -> list[Float[np.ndarray, "n c"]]:
        """Clip features, float32, of each video: what every other method takes, too.

        Video files and frames are extracted here; use this to extract once for several calls.
        Raises InputError, ContractMismatch where features were made otherwise than the model's,
        VideoError, BackboneError where the model's are of a backbone that is not known or whose
        weights are missing, and MissingExtra without the extra `video`.
        """
        listed = inputs.listed(video, self.contract.dim)
        videos = self.read(listed)
        for number, features in enumerate(videos):
            damaged = np.flatnonzero(~np.isfinite(features).all(axis=1)).tolist()
            if damaged:
                what = inputs.called(number, listed[number])
                raise InputError(
                    f"{what} has NaN or infinite features in {len(damaged)} of {len(features)} "
                    f"clips, the first of them clip {damaged[0] + 1}; extract it anew."
                )
        return videos

    def read(self, video: Videos) -> list[Float[np.ndarray, "n c"]]:
        """As `features`, but with clips that are NaN."""
        listed = inputs.listed(video, self.contract.dim)
        if not listed:
            raise InputError("an empty list; expected one video or text, or more.")
        return [self.reader.features(number, item) for number, item in enumerate(listed)]

    def short(self, videos: list[Float[np.ndarray, "_ c"]]) -> Side:
        """The inputs of videos, as `features` gives them, of one window each. Raises InputError on
        a longer one."""
        for number, features in enumerate(videos):
            if len(features) > self.maximum_clips:
                raise InputError(
                    f"video {number} has {len(features)} clips; expected 1 to "
                    f"{self.maximum_clips}, as many as in training: cut it into segments."
                )
        return Side(videos, self.maximum_clips)

    def cut(self, video: Videos) -> Cut:
        """Videos of any length in windows."""
        return Cut.of(self.features(video), self.maximum_clips)

    def texts(self, text: Texts, *, truncate: bool = False) -> Side:
        """Piece ids of each text. Raises InputError as `inputs.tokenized`."""
        return inputs.tokenized(self.tokenizer, text, self.maximum_pieces, truncate=truncate)

    def either(
        self, video: Videos | None, text: Texts | None, *, truncate: bool
    ) -> tuple[Cut, Side]:
        """As `paired`, where None is a side without clips, or without pieces. Raises InputError
        where both are None."""
        if video is not None and text is not None:
            return self.paired(video, text, truncate=truncate)
        if text is not None:
            texts = self.texts(text, truncate=truncate)
            return Cut.without_video(len(texts.inputs), self.contract.dim), texts
        if video is None:
            raise InputError("neither a video nor a text; expected one of them or both.")
        cut = self.cut(video)
        return cut, self.no_texts(len(cut.owners))

    def no_texts(self, count: int) -> Side:
        """Texts without a piece, `count` of them."""
        return Side([np.zeros(0, np.int32)] * count, self.maximum_pieces)

    def paired(self, video: Videos, text: Texts, *, truncate: bool) -> tuple[Cut, Side]:
        """Videos in windows, and a text for each window. Raises InputError on unequal numbers."""
        texts, cut = self.texts(text, truncate=truncate), self.cut(video)
        require_paired(len(cut.told_in), len(texts.inputs))
        return cut, texts.of(cut.owners)

    def vectors(self, program: str, side: Side) -> Float[np.ndarray, "k j"]:
        """A vector [j] for each of the k inputs of a side, in their order, by a program of the name
        "video_vectors" or "text_vectors"."""
        return rows.vectors(self.programs[program], self._variables, side)

    def run(self, program: str, *sides: Side) -> list[np.ndarray]:
        """Outputs [b, ...] of a program, by its name, for all inputs of the sides, in their order.

        Raises KeyError on a name that is not in `programs`.
        """
        return inputs.in_batches(self.programs[program], self._variables, *sides)

    def write(self, sides: dict[str, Side], settings: Any, seed: int) -> list[str]:
        """Captions told from the sides "video", "text" or both, in this order. settings: of the
        decoding; seed: of what is drawn."""
        by = functools.partial(self._captions, frozenset(sides), settings, np.uint32(seed))
        (written,) = inputs.in_batches(by, self._variables, *sides.values(), numbered=True)
        return [self.tokenizer.decode(ids) for ids in written]


@functools.lru_cache(maxsize=4)
def _jitted(config: ModelConfig) -> tuple[dict[str, Any], Any]:
    """(the programs by name, the one that writes captions), shared by models of one size."""
    # Rows are short here, and dense attention alone tells its probabilities.
    network = VideoBert(dataclasses.replace(config, remat="none", attention="dense"))
    by_name = {each.__name__: jax.jit(functools.partial(each, network)) for each in _PROGRAMS}
    captions = functools.partial(programs.captions, network)
    return by_name, jax.jit(captions, static_argnums=(0, 1))


def _as_run(variables: dict[str, Any]) -> dict[str, Any]:
    """Variables as this machine's devices read them fastest."""
    if jax.default_backend() != "cpu":
        return variables
    params = variables["params"]
    towers = {name: encoder.unstacked(params[name]) for name in _TOWERS if name in params}
    return {**variables, "params": {**params, **towers}}


def require_paired(videos: int, texts: int) -> None:
    """Raises InputError on unequal numbers."""
    if videos != texts:
        raise InputError(f"{videos} videos and {texts} texts; a pair is one of each.")
