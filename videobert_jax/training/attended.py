"""What looks on while a run trains."""

import dataclasses

from videobert_jax.training import goodput, preemption, wall_time, watchdog


@dataclasses.dataclass(frozen=True)
class Attended:
    """Where a run's time goes, over all its starts; who asks it to stop; whether it comes
    further."""

    times: goodput.Goodput
    signal: preemption.StopSignal
    watch: watchdog.Watchdog

    @property
    def clock(self) -> wall_time.WallTime:
        """Of this start."""
        return self.times.clock
