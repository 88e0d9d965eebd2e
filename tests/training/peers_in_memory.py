"""A group of processes that are threads of this one."""

import collections
import dataclasses


@dataclasses.dataclass
class Store:
    """What all have said, by topic and process."""

    count: int
    said: dict[str, dict[int, str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(dict)
    )

    def member(self, process: int) -> "Member":
        return Member(self, process)


@dataclasses.dataclass
class Member:
    store: Store
    process: int

    @property
    def count(self) -> int:
        return self.store.count

    def tell(self, topic: str, text: str) -> None:
        self.store.said[topic][self.process] = text

    def told(self, topic: str) -> dict[int, str]:
        return dict(self.store.said[topic])
