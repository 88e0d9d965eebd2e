"""How what takes long is asked to stop, and the exit codes that say "start again".

Whoever runs batch after batch calls `point` between two of them; whoever may have to stop it wraps
it in `asking`, and raises there.
"""

import contextlib
from collections.abc import Callable, Iterator

# EX_TEMPFAIL of sysexits.h: stopped as asked, and nothing is lost. Not 0, which tells a scheduler
# that the work is done: Kubernetes would count a preempted pod as a finished one.
STOPPED = 75
HUNG = 76  # the next number: a process hangs, and all ended themselves; start again too

_asked: list[Callable[[], None]] = []


class Stopped(BaseException):
    """Work that ends because it was asked to. No Exception, so that nobody takes it for a fault."""


def point() -> None:
    """A place between two batches; raises what the innermost `asking` raises here."""
    if _asked:
        _asked[-1]()


@contextlib.contextmanager
def asking(check: Callable[[], None]) -> Iterator[None]:
    """Context in which every `point` calls `check`, which raises Stopped where it is time to."""
    _asked.append(check)
    try:
        yield
    finally:
        _asked.remove(check)
