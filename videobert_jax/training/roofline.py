"""The least time that a step can take on a chip, and what sets it."""

import dataclasses
from collections.abc import Iterable

from videobert_jax.training import topologies
from videobert_jax.training.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds a step of each of the things that a chip does beside one another, at the rates of
    its data sheet. A real step takes longer than the longest of them.

    between_slices is None where the data sheet does not say how fast they are joined.
    """

    arithmetic: float
    memory: float
    network: float
    between_slices: float | None

    @property
    def bound(self) -> str:
        """What takes longest: "arithmetic", "memory", "network" or "network between slices"."""
        return max(self.named(), key=lambda named: named[1])[0]

    @property
    def seconds(self) -> float:
        return max(seconds for _, seconds in self.named())

    def named(self) -> list[tuple[str, float]]:
        """Seconds of each by its name; of what is not known 0."""
        return [
            ("arithmetic", self.arithmetic),
            ("memory", self.memory),
            ("network", self.network),
            ("network between slices", self.between_slices or 0.0),
        ]


def of_step(topology: str, flops: float, bytes_accessed: float, sent: "Sent") -> Roofline:
    """The Roofline of a step of so many FLOPs, bytes of memory and bytes sent a chip.

    Raises TopologyError where a topology is unknown.
    """
    chip = topologies.chip(topology)
    between = sent.between_slices / chip.dcn_bandwidth if chip.dcn_bandwidth else None
    return Roofline(
        arithmetic=flops / topologies.peak_flops(topology),
        memory=bytes_accessed / chip.hbm_bandwidth,
        network=sent.within_slice / chip.ici_bandwidth,
        between_slices=between if sent.between_slices else 0.0,
    )


@dataclasses.dataclass(frozen=True)
class Sent:
    """Bytes a step that a device sends to others of its slice, and to other slices."""

    within_slice: float
    between_slices: float

    @property
    def total(self) -> float:
        return self.within_slice + self.between_slices

    def __add__(self, other: "Sent") -> "Sent":
        return Sent(
            self.within_slice + other.within_slice, self.between_slices + other.between_slices
        )

    def __rmul__(self, times: int | float) -> "Sent":
        return Sent(times * self.within_slice, times * self.between_slices)

    @classmethod
    def by(cls, found: Iterable[Collective]) -> "Sent":
        """What collectives send by ring algorithms."""
        found = list(found)
        return cls(
            sum((each.sent_a_step for each in found if not each.across_slices), 0.0),
            sum((each.sent_a_step for each in found if each.across_slices), 0.0),
        )
