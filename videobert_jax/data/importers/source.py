"""A source of clip features by video, and what is known of how they were made."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float16

from videobert_jax.files import json_values
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.schema import UNKNOWN, FeatureContract

_UNIT_TOLERANCE = 0.02  # of norms; float16 keeps three digits
_CHECKED = 32  # clips of a video, spread over it, whose norms are taken
MAX_CLIPS = 1_000_000  # of a video: eleven days at one a second

# Fields of the contract that can be vouched for; the dtype is what we store.
_PARSERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("backbone", "weights_sha256", "layer", "crop"), str),
    **dict.fromkeys(("dim", "frames_per_clip"), int),
    **dict.fromkeys(("fps", "stride_seconds"), float),
    "normalised": lambda text: {"true": True, "false": False}[text.lower()],
}

Read = Callable[[], np.ndarray]


class FeatureError(ValueError):
    """Features that are not what their layout or contract says."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a user says of the features; None and empty where the source or the layout says it.

    asserted: fields of the contract that the user vouches for, as text.
    """

    dim: int | None = None
    stride_seconds: float | None = None
    normalised: bool | None = None
    part: str | None = None  # of features that join several networks'
    asserted: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Known:
    """A row of the table of contracts: None and "unknown" where the publisher does not say.

    source: who says it.
    """

    source: str
    backbone: str = UNKNOWN
    layer: str = UNKNOWN
    dim: int | None = None
    fps: float | None = None
    frames_per_clip: int | None = None
    stride_seconds: float | None = None
    crop: str = UNKNOWN
    normalised: bool | None = None


@dataclasses.dataclass(frozen=True)
class FeatureSource:
    """Features of videos by canonical id, each read when it is asked for.

    asserted: fields of the contract that the user vouched for. columns: which of a published
    vector's dimensions are taken.
    """

    contract: FeatureContract
    videos: Mapping[str, Read]
    asserted: tuple[str, ...] = ()
    columns: slice = dataclasses.field(default_factory=lambda: slice(None))

    @property
    def names(self) -> list[str]:
        return sorted(self.videos)

    def features(self, name: str) -> Float16[np.ndarray, "n c"]:
        """Clip features of a video, as float16.

        Raises FeatureError on another shape or dtype than the contract's, values that are NaN,
        infinite or beyond float16, and norms that contradict `normalised`; KeyError on a video
        that is not there.
        """
        try:
            values = self.videos[name]()
        except ArrayFileError as error:
            raise FeatureError(str(error)) from error
        if values.dtype.kind != "f":
            raise FeatureError(f"{name}: features of {values.dtype}, expected floating point")
        width = len(range(*self.columns.indices(values.shape[-1]))) if values.ndim == 2 else 0
        if values.ndim != 2 or width != self.contract.dim:
            raise FeatureError(
                f"{name}: features of shape {list(values.shape)}, expected [clips, "
                f"{self.contract.dim}]; give the dimension with --dim if it is another"
            )
        if not 0 < len(values) <= MAX_CLIPS:
            raise FeatureError(f"{name}: {len(values):,} clips, expected 1 to {MAX_CLIPS:,}")
        values = values[:, self.columns]
        with np.errstate(over="ignore"):
            out = values.astype(np.float16)
        if damaged := int((~np.isfinite(out).all(axis=1)).sum()):
            raise FeatureError(
                f"{name}: {damaged} of {len(out)} clips are NaN, infinite or beyond float16's "
                "65,504; extract them anew"
            )
        check_norms(name, out, self.contract.normalised)
        return out


def are_unit(features: np.ndarray) -> bool:
    """Whether vectors [n, c] have norm 1, as far as their precision goes (a sample of them)."""
    rows = np.unique(np.linspace(0, len(features) - 1, min(len(features), _CHECKED)).astype(int))
    norms = np.linalg.norm(features[rows].astype(np.float64), axis=1)
    return bool((np.abs(norms - 1) < _UNIT_TOLERANCE).all())


def check_norms(name: str, features: np.ndarray, normalised: bool) -> None:
    """Raises FeatureError where the norms are not what the contract says."""
    if are_unit(features) == normalised:
        return
    found = float(np.linalg.norm(features.astype(np.float64), axis=1).mean())
    says, remedy = ("1", "false") if normalised else ("other than 1", "true")
    raise FeatureError(
        f"{name}: vectors of norm {found:.3g} on average, the contract says norms {says}; if it "
        f"is wrong say --normalised={remedy}"
    )


def contract_of(
    known: Known, settings: Settings, first: Callable[[], np.ndarray]
) -> tuple[FeatureContract, tuple[str, ...]]:
    """(contract, names of the fields that the user asserted) of what is known and said.

    `first` gives some video's features, for the dimension where nobody says it. A known field can
    be asserted only as what it is known to be. Raises FeatureError on contradictions, and where
    the dimension, the stride or whether vectors are normalised stays open.
    """
    fields: dict[str, Any] = {
        "backbone": known.backbone,
        "weights_sha256": UNKNOWN,
        "layer": known.layer,
        "dim": known.dim,
        "fps": known.fps,
        "frames_per_clip": known.frames_per_clip,
        "stride_seconds": known.stride_seconds,
        "crop": known.crop,
        "normalised": known.normalised,
        "dtype": "float16",
    }
    said = {"dim": settings.dim, "stride_seconds": settings.stride_seconds}
    said["normalised"] = settings.normalised
    for name, value in {**_parsed(settings.asserted), **said}.items():
        if value is None:
            continue
        if fields[name] not in (None, UNKNOWN) and fields[name] != value:
            raise FeatureError(
                f"{name}={value!r} was said, but these features have {name}={fields[name]!r} "
                f"({known.source}); choose another layout, or leave it out"
            )
        fields[name] = value
    if fields["dim"] is None:
        values = first()
        fields["dim"] = int(values.shape[-1]) if values.ndim else 0
    wanted = {"stride_seconds": "--stride=SECONDS", "normalised": "--normalised=true or false"}
    if missing := [option for name, option in wanted.items() if fields[name] is None]:
        raise FeatureError(
            f"nothing says how these features were made in full; say it with {', '.join(missing)}"
        )
    return FeatureContract(**fields), tuple(sorted(settings.asserted))


def _parsed(asserted: Mapping[str, str]) -> dict[str, Any]:
    """Asserted fields in the contract's types. Raises FeatureError on unknown fields."""
    out: dict[str, Any] = {}
    for name, text in asserted.items():
        if name not in _PARSERS:
            raise FeatureError(
                f"--assert-contract: no field {name!r}; expected one of {', '.join(_PARSERS)}"
            )
        try:
            out[name] = _PARSERS[name](text)
        except (KeyError, ValueError) as error:
            kind = "true or false" if name == "normalised" else "a number"
            raise FeatureError(f"--assert-contract: {name}={text!r}, expected {kind}") from error
    return out


def stored_contract(folder: pathlib.Path) -> FeatureContract | None:
    """The contract.json beside features that were extracted by this project, or None."""
    file = folder / "contract.json"
    if not file.is_file():
        return None
    try:
        return FeatureContract.from_json(json_values.parse(file.read_bytes()))
    except ValueError as error:
        raise FeatureError(f"{file}: {error}; write it anew") from error
