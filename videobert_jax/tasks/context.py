"""What the evaluations of one checkpoint on one split share: loaded, checked and encoded once."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from videobert_jax import schema
from videobert_jax.data.index import Dataset, Split
from videobert_jax.files import digests
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.tasks import baselines
from videobert_jax.tasks.encoding import ROWS, Encodings, ModelRunner
from videobert_jax.tasks.errors import EvaluationError

FIT_SPLITS = ("train_steps", "train")  # of the supervised baselines; exact labels come first


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationContext:
    """A network, a split, a seed. `limit` evaluates the first examples only, and says so.

    Raises ContractMismatch where the dataset's clip features are not those the network knows.
    """

    bundle: ModelBundle
    dataset: Dataset
    split: Split
    seed: int
    limit: int | None = None
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
        builder = self.runner.builder(self.split, limit=self.limit)
        ids, features = _mean_features(builder, range(_blocks_of(builder, self.limit)))
        found = np.zeros((len(self.ids), features.shape[1]), np.float32)
        found[ids[ids < len(self.ids)]] = features[ids < len(self.ids)]
        return found

    @functools.cached_property
    def ids(self) -> Int[np.ndarray, " n"]:
        """Examples under evaluation: all of the split, or the first `limit`."""
        return np.arange(min(self.limit or len(self.split), len(self.split)))

    def expect(self, ids: Int[np.ndarray, " n"], what: str) -> np.ndarray:
        """Rows of the encodings of the examples a protocol is about.

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
    def fit_split(self) -> Split | None:
        """The split that supervised baselines are fitted to; None where only the evaluated is."""
        for name in FIT_SPLITS:
            if name in self.dataset.splits and name != self.split.name:
                return self.dataset.splits[name]
        return None

    @functools.cached_property
    def fit_features(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n c"]]:
        """(example ids, mean clip features) of `fit_split`, at most MAX_FIT_EXAMPLES of them."""
        if self.fit_split is None:
            raise EvaluationError("there is no split to fit a supervised baseline to")
        most = baselines.MAX_FIT_EXAMPLES
        builder = self.runner.builder(self.fit_split)
        count = builder.num_blocks
        spread = np.linspace(0, count - 1, min(count, most // ROWS))
        return _mean_features(builder, np.unique(spread.astype(int)).tolist())

    @functools.cached_property
    def overlap(self) -> list[str]:
        """Names of evaluated videos that the network was trained on."""
        videos = {self.split.videos[v] for v in np.unique(self.split.video[self.ids]).tolist()}
        return sorted(videos & set(self.bundle.trained_on["video_names"]))

    @property
    def seen_dataset(self) -> bool:
        """Whether the network was trained on another split of this dataset."""
        return any(
            entry["name"] == self.dataset.name for entry in self.bundle.trained_on["datasets"]
        )

    def describe_split(self, expected: Int[np.ndarray, " n"], evaluated: int) -> dict[str, Any]:
        """The record's "dataset"."""
        return {
            "name": self.dataset.name,
            "digest": self.dataset.digest,
            "split": self.split.name,
            "num_expected": len(expected),
            "num_evaluated": evaluated,
            "ids_digest": digests.sha256_array(np.asarray(expected, np.int64)),
        }


def _blocks_of(builder: Any, limit: int | None) -> int:
    count = builder.num_blocks
    return count if limit is None else min(count, -(-limit // ROWS))


def _mean_features(builder: Any, chosen: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """(ids, float32 [n, c]) of the examples with video of some blocks, in the order of ids."""
    ids, features = [], []
    for k in chosen:
        block = builder.build(k).batch
        present = block.video_segment_ids != schema.NO_SEGMENT
        kept = (block.example_ids[:, 0] != schema.PADDING_EXAMPLE) & present.any(axis=1)
        totals = (block.video_features.astype(np.float32) * present[..., None]).sum(axis=1)
        ids.append(block.example_ids[kept, 0])
        features.append(totals[kept] / present[kept].sum(axis=1, keepdims=True))
    order = np.argsort(np.concatenate(ids), kind="stable")
    return np.concatenate(ids)[order], np.concatenate(features)[order]
