"""What a dataset that is being written will be, and whether a folder may take it."""

import dataclasses
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from videobert_jax.data import index
from videobert_jax.data.part import PartSize
from videobert_jax.files import digests
from videobert_jax.schema import FeatureContract

PARTIAL, PLAN_FILE = "partial", "plan.json"  # the folder of what is unfinished, and its plan
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class WritingPlan:
    """Name, contract and metadata of a dataset, and the size of its parts.

    Raises DatasetError on names that tfds could not name files after, and on features that are
    not stored (other than float16).
    """

    name: str
    contract: FeatureContract
    metadata: Mapping[str, Any]
    size: PartSize

    def __post_init__(self) -> None:
        check_name("dataset", self.name)
        if self.contract.dim <= 0 or self.contract.dtype != "float16":
            raise index.DatasetError(
                f"{self.name}: contract of {self.contract.dim} dimensions in "
                f"{self.contract.dtype}, expected at least 1 in float16, which is what is stored"
            )

    def content(self) -> bytes:
        """What plan.json says: an interrupted preparation goes on only under the same."""
        plan = {
            "name": self.name,
            "contract": self.contract.to_json(),
            "metadata": digests.sha256_json(dict(self.metadata)),
            "part": dataclasses.asdict(self.size),
        }
        return json_bytes(plan)

    def check_start(self, output: str, found: Collection[str], written: bytes | None) -> None:
        """Raises DatasetError where a folder holds anything but this unfinished dataset.

        found: names in the folder; written: content of the plan in it, None where there is none.
        """
        if index.DATASET_FILE in found:
            raise index.DatasetError(
                f"{output}: a finished dataset is there already; open it, or give another --output"
            )
        if written is None and found:
            some = ", ".join(sorted(found)[:3])
            raise index.DatasetError(
                f"{output}: not empty and no dataset (it holds {some}); expected a new or empty "
                "directory: give another --output"
            )
        if written is not None and written != self.content():
            raise index.DatasetError(
                f"{output}: an interrupted preparation with other settings is there "
                f"({PARTIAL}/{PLAN_FILE}); finish it with the same command and version, or remove "
                "the directory"
            )


def check_name(kind: str, name: str) -> None:
    """Raises DatasetError unless tfds can name files after it."""
    if not _NAME.fullmatch(name):
        raise index.DatasetError(
            f"{kind} name {name!r}: expected lower-case letters, digits and underscores, "
            "beginning with a letter (tfds names files after it)"
        )


def json_bytes(value: Any) -> bytes:
    """JSON as it is stored. Raises ValueError on NaN and infinity."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
