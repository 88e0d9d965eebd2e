"""What the evaluations of one checkpoint on one split share: loaded, checked and encoded once."""

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.data import video_ids
from videobert_jax.data.index import Dataset, Split
from videobert_jax.files import digests
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.tasks.encoding import Encodings, ModelRunner
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.fits import Fits, mean_features

FIT_SPLITS = ("train_steps", "train")  # of the supervised baselines; exact labels come first


class EvaluatedSplit:
    """The examples of a split that are under evaluation, whoever is evaluated."""

    dataset: Dataset
    split: Split
    seed: int
    limit: int | None

    @functools.cached_property
    def ids(self) -> Int[np.ndarray, " n"]:
        """Examples under evaluation: all of the split, or the first `limit`."""
        return np.arange(min(self.limit or len(self.split), len(self.split)))

    @functools.cached_property
    def fit_split(self) -> Split | None:
        """The split that supervised baselines are fitted to; None where only the evaluated is."""
        for name in FIT_SPLITS:
            if name in self.dataset.splits and name != self.split.name:
                return self.dataset.splits[name]
        return None

    def line(self, example: int) -> dict[str, Any]:
        """What the line of an example says of where it is."""
        return {
            "example_id": example,
            "video": self.split.videos[int(self.split.video[example])],
            "start": float(self.split.start[example]),
            "end": float(self.split.end[example]),
        }

    def by_clips(
        self, ids: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " a"]]:
        """(those of the examples `ids` that have clips, those that are absent: without any)."""
        present = self.split.clip_count[ids] > 0
        return ids[present], ids[~present]

    def describe_split(self, evaluated: Int[np.ndarray, " n"], absent: int) -> dict[str, Any]:
        """The record's "dataset", of the ids of the examples that were evaluated and the number of
        those that the protocol is about as well, but that are absent."""
        return {
            "name": self.dataset.name,
            "digest": self.dataset.digest,
            "split": self.split.name,
            "num_expected": len(evaluated) + absent,
            "num_evaluated": len(evaluated),
            "ids_digest": digests.sha256_array(np.asarray(evaluated, np.int64)),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class PredictionContext(EvaluatedSplit):
    """A split and what another system said of it; `predictions` is the record's of that name."""

    predictions: dict[str, Any]
    dataset: Dataset
    split: Split
    seed: int
    limit: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationContext(EvaluatedSplit):
    """A network (`bundle`), a split of a dataset, a seed. `limit` evaluates the first
    examples only, and says so. fitted: baselines of the dataset by the same seed, of an evaluation
    before. untrained_heads: heads that were never trained are asked all the same, which is said.
    contract_verified: whether all that is known of the network's clip features is known of the
    dataset's, and the same.

    Raises ContractMismatch where the dataset's clip features are not those the network knows.
    """

    bundle: ModelBundle
    dataset: Dataset
    split: Split
    seed: int
    limit: int | None = None
    fitted: Fits | None = None
    untrained_heads: bool = False
    contract_verified: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        verified = self.dataset.contract.verify_against(
            self.bundle.contract,
            found=f"dataset {self.dataset.path}",
            expected=f"checkpoint {self.bundle.name} (step {self.bundle.step})",
        )
        object.__setattr__(self, "contract_verified", verified)

    @functools.cached_property
    def runner(self) -> ModelRunner:
        return ModelRunner(self.bundle)

    @functools.cached_property
    def encodings(self) -> Encodings:
        return self.runner.encode(self.split, limit=self.limit)

    @functools.cached_property
    def features(self) -> Float[np.ndarray, "n c"]:
        """Mean clip feature of every example of the split, 0 where it has no video."""
        ids, features = mean_features(
            self.runner.builder(self.split, limit=self.limit), limit=self.limit
        )
        found = np.zeros((len(self.ids), features.shape[1]), np.float32)
        found[ids[ids < len(self.ids)]] = features[ids < len(self.ids)]
        return found

    def expect(self, ids: Int[np.ndarray, " n"], what: str) -> np.ndarray:
        """Rows [n] of the encodings of the examples a protocol is about, by ids; `what` they have
        that it needs, for messages.

        Raises EvaluationError where there are none, or where one was lost on the way: a result
        over fewer examples than its protocol has is a result of another protocol.
        """
        where = f"split {self.split.name!r} of {self.dataset.path}"
        if not len(ids):
            raise EvaluationError(f"{where} has no example with {what}; evaluate another split.")
        rows = self.encodings.rows_of(ids)
        damaged = self.encodings.damaged[rows]
        if damaged.any():
            raise EvaluationError(
                f"{int(damaged.sum())} of the {len(ids)} examples of {where} have damaged clip "
                f"features (NaN), the first are {ids[damaged][:5].tolist()}; prepare them anew."
            )
        return rows

    @functools.cached_property
    def fits(self) -> Fits:
        if self.fitted is not None:
            return self.fitted
        return Fits(self.runner.tokenizer, self.bundle.data, self.dataset, self.seed)

    def on(self, split: Split) -> "EvaluationContext":
        """The same network on another split of the dataset; what is loaded and fitted is shared."""
        other = dataclasses.replace(self, split=split, fitted=self.fits)
        vars(other).update(runner=self.runner)
        return other

    @functools.cached_property
    def narration_split(self) -> Split | None:
        """The split whose pairs of captions and clips the network was trained on, the first one.

        None where it was trained on no pairs of this dataset, or on those under evaluation.
        """
        trained = {e["split"] for e in self.bundle.trained_on["datasets"] if self._is_own(e)}
        for source in self.bundle.data.sources:
            if source.regime == "text_video" and source.split in trained - {self.split.name}:
                return self.dataset.splits.get(source.split)
        return None

    def was_taught(self, kind: str) -> bool:
        """Whether the network was trained on a split of this dataset with labels of a kind, whose
        captions say them."""
        names = {e["split"] for e in self.bundle.trained_on["datasets"] if self._is_own(e)}
        splits = self.dataset.splits
        return any(kind in splits[name].labels for name in names & splits.keys())

    @functools.cached_property
    def overlap(self) -> list[str]:
        """Names of evaluated videos that the network was trained on, whatever dataset they were
        in and however that writes them."""
        videos = {self.split.videos[v] for v in np.unique(self.split.video[self.ids]).tolist()}
        trained = set(map(video_ids.canonical, self.bundle.trained_on["video_names"]))
        return sorted(video for video in videos if video_ids.canonical(video) in trained)

    @property
    def seen_dataset(self) -> bool:
        """Whether the network was trained on another split of this dataset."""
        return any(map(self._is_own, self.bundle.trained_on["datasets"]))

    def _is_own(self, entry: dict[str, Any]) -> bool:
        return entry["name"] == self.dataset.name
