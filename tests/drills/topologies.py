"""An exact run goes from one topology to another, at random and again and again: it must restore
the very state that was saved, read each example once, and have the bits of a run that stayed where
it was. And it is made whole on each of twelve topologies, which must end with one hash.

    python -m tests.drills.topologies [--restores N] [--seed N] [--shard I/N] [--results FILE]
        [--without-exact]

A topology is a number of processes, of devices a process, and a mesh (data x fsdp). Runs by one
process are taken in the drill's own, on some of its eight devices; by two, by two others. With
--without-exact the runs sum as others do: then their bits must differ, which shows that the drill
bites.
"""

import contextlib
import dataclasses
import functools
import pathlib
import random
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import jax

from tests.drills import campaign, one_hash, recorded
from tests.integration import runs
from videobert_jax import configuration, schema
from videobert_jax.files import compilation_cache, stopping
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import abstract_step, loop

CONFIG = pathlib.Path(one_hash.__file__)
NUM_STEPS = one_hash.NUM_STEPS
_VIDEOS, _LONGEST_SECONDS = 16, 1800.0


@dataclasses.dataclass(frozen=True)
class Topology:
    """Processes, devices of each, and shards of the mesh's axes over all."""

    processes: int
    devices: int
    data: int
    fsdp: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.devices} devices, mesh {self.data} x {self.fsdp}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"mesh.data": self.data, "mesh.fsdp": self.fsdp}


ONE = Topology(1, 1, 1, 1)
TOPOLOGIES = (
    ONE,
    Topology(1, 2, 2, 1),
    Topology(1, 2, 1, 2),
    Topology(1, 4, 4, 1),
    Topology(1, 4, 2, 2),
    Topology(1, 8, 8, 1),
    Topology(1, 8, 4, 2),
    Topology(1, 8, 2, 4),
    Topology(1, 8, 1, 8),
    Topology(2, 1, 2, 1),
    Topology(2, 2, 2, 2),
    Topology(2, 4, 4, 2),
)


class Drill:
    """Runs on one dataset, beside one that stays on one device."""

    def __init__(
        self,
        folder: pathlib.Path,
        seed: int,
        *,
        exact: bool = True,
        num_steps: int = NUM_STEPS,
        config: pathlib.Path = CONFIG,
        settings: Mapping[str, Any] = types.MappingProxyType({}),
        topologies: Sequence[Topology] = TOPOLOGIES,
    ) -> None:
        self.folder, self.seed, self.exact = folder, seed, exact
        self.num_steps, self.config, self.settings = num_steps, config, settings
        self.topologies = topologies
        self.dataset = campaign.write_dataset(folder / "dataset", {"train": _VIDEOS})
        self.starts, self.step = 0, 0  # of the run that goes from topology to topology
        self.at: Topology | None = None
        self.workdir = folder / "wandering"

    @functools.cached_property
    def reference(self) -> dict[str, Any]:
        """Digests of the state by step, ledger and figures of the run that stays."""
        workdir = self.folder / "reference"
        logs = self.start(ONE, workdir, self.num_steps, save_every=1)
        saved = recorded.lines(logs[0], recorded.SAVED)
        return {
            "digests": {line["step"]: line["digest"] for line in saved},
            "ledger": ledger(logs),
            "figures": runs.figures(workdir),
        }

    def whole(self, topology: Topology) -> dict[str, Any]:
        """A run from beginning to end; what it gives as a line of the results."""
        self.starts += 1
        workdir = self.folder / f"whole_{self.starts}"
        logs = self.start(topology, workdir, self.num_steps)
        found = recorded.lines(logs[0], recorded.SAVED)[-1]["digest"]
        expected = self.reference
        bits = found == expected["digests"][self.num_steps]
        figures = runs.figures(workdir) == expected["figures"]
        same_ledger = ledger(logs) == expected["ledger"]
        passed = bits and figures and same_ledger
        return {"digest": found, "figures": figures, "ledger": same_ledger, "passed": passed}

    def restore(self, number: int) -> dict[str, Any]:
        """The run goes on on another topology, from where it was; as `whole`."""
        generator = random.Random(f"{self.seed} {number}")
        if self.at is None or self.step >= self.num_steps:
            self._begin_anew(generator)
        there = self.at
        here = generator.choice([each for each in self.topologies if each != there])
        step, until = self.step, min(self.step + generator.randint(1, 3), self.num_steps)
        logs = self.start(here, self.workdir, until)
        (restored,) = recorded.lines(logs[0], recorded.RESTORED)
        saved, self.at = recorded.lines(logs[0], recorded.SAVED)[-1], here
        equal = (restored["step"], restored["digest"]) == (step, self.saved)
        expected, read = self.reference, ledger(logs)
        once = read == {n: expected["ledger"][n] for n in range(step, until)}
        bits = saved["digest"] == expected["digests"][until]
        self.step, self.saved = until, saved["digest"]
        return {
            "from": str(there),
            "to": str(here),
            "step": step,
            "until": until,
            "restored_equal": equal,
            "ledger": once,
            "bits": bits,
            "passed": equal and once and bits,
        }

    def _begin_anew(self, generator: random.Random) -> None:
        self.starts += 1
        self.workdir = self.folder / f"wandering_{self.starts}"
        self.at, self.step = generator.choice(self.topologies), generator.randint(1, 3)
        logs = self.start(self.at, self.workdir, self.step)
        self.saved = recorded.lines(logs[0], recorded.SAVED)[-1]["digest"]

    def start(
        self, topology: Topology, workdir: pathlib.Path, until: int, *, save_every: int = NUM_STEPS
    ) -> list[pathlib.Path]:
        """What each process recorded of a start that takes the steps to before `until`."""
        self.starts += 1
        logs = [
            self.folder / f"start_{self.starts}_process_{n}.jsonl"
            for n in range(topology.processes)
        ]
        settings = {
            **self.settings,
            "platform": "cpu",
            "exact": self.exact,
            "data.path": self.dataset,
            "training.save_every": save_every,
            **topology.settings,
        }
        if topology.processes > 1:
            self._by_processes(topology, workdir, until, settings, logs)
            return logs
        config = configuration.load_file(str(self.config))
        for name, value in settings.items():
            configuration.apply_override(config, name, str(value))
        with recorded.Recorder(logs[0]), _on_devices(topology.devices):
            loop.train(
                configuration.parse(config),
                configuration.to_json(config),
                workdir,
                evaluators=(),
                stop=lambda step: step >= until,
            )
        return logs

    def _by_processes(
        self,
        topology: Topology,
        workdir: pathlib.Path,
        until: int,
        settings: dict[str, Any],
        logs: list[pathlib.Path],
    ) -> None:
        outputs = [log.with_suffix(".txt") for log in logs]
        shared = [
            f"--config={self.config}",
            *(f"--config.{name}={value}" for name, value in settings.items()),
        ]
        started = [
            runs.start(
                workdir,
                [*shared, *together],
                devices=topology.devices,
                log=output,
                faults=[f"until={until}", f"recorded={log}"],
            )
            for log, output, together in zip(
                logs, outputs, runs.flags_of_processes(topology.processes), strict=True
            )
        ]
        expected = 0 if until == self.num_steps else stopping.STOPPED
        try:
            codes = [process.wait(_LONGEST_SECONDS) for process in started]
        finally:
            for process in started:
                process.kill()
        if set(codes) != {expected}:
            said = "\n".join(output.read_text(errors="replace")[-3000:] for output in outputs)
            raise RuntimeError(f"train.py ended with {codes}, expected {expected}:\n{said}")


@contextlib.contextmanager
def _on_devices(count: int) -> Iterator[None]:
    """While it lasts a mesh is over so many of the devices that there are."""
    create = meshes.create_mesh

    def on_some(config: meshes.MeshConfig) -> Any:
        return create(config, jax.devices()[:count])

    with mock.patch.object(meshes, "create_mesh", on_some):
        yield


def ledger(logs: list[pathlib.Path]) -> dict[int, dict[int, Any]]:
    """Examples of each block of each step, out of what all processes recorded. Raises ValueError
    where two have read one block."""
    found: dict[int, dict[int, Any]] = {}
    for log in logs:
        for line in recorded.lines(log, recorded.READ):
            step = found.setdefault(line["step"], {})
            for block, examples in line["blocks"].items():
                if int(block) in step:
                    raise ValueError(f"block {block} of step {line['step']} is read twice.")
                step[int(block)] = examples
    return found


def epochs_are_whole(read: dict[int, dict[int, Any]]) -> bool:
    """Whether each source's examples came once in each epoch, as far as it got."""
    for text_only in (False, True):
        ids = [
            number
            for step in sorted(read)
            for block in sorted(read[step])
            if read[step][block]["text_only"] == text_only
            for number in read[step][block]["ids"]
        ]
        size = max(1, len(set(ids)))
        epochs = [ids[first : first + size] for first in range(0, len(ids), size)]
        if schema.PADDING_EXAMPLE in ids or not all(len(set(e)) == len(e) for e in epochs):
            return False
    return True


def main() -> int:
    """0 where every case did as it must, 1 where one did not."""
    parser = campaign.parser(
        __doc__,
        "topologies.jsonl",
        seed_of="topologies and steps",
        guard="exact",
        without="runs sum as others do; then cases must fail",
    )
    parser.add_argument("--restores", type=int, default=200)
    arguments = parser.parse_args()
    exact = not arguments.without_exact
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 8)
    compilation_cache.use()  # a drill that was stopped does not compile all anew
    about = {"seed": arguments.seed, "exact": exact}
    results = campaign.Results(arguments.results, about)
    wholes = {f"whole, {topology}": topology for topology in TOPOLOGIES}
    cases = [*wholes, *(f"restore {number}" for number in range(arguments.restores))]
    done, failed = results.passed() if exact else {}, []
    # Every topology's step is compiled once.
    kept = functools.cache(abstract_step.made.__wrapped__)
    with (
        tempfile.TemporaryDirectory(prefix="topologies_") as name,
        mock.patch.object(abstract_step, "made", kept),
    ):
        drill = Drill(pathlib.Path(name), arguments.seed, exact=exact)
        for case in cases[arguments.shard]:
            if case in done:
                continue
            begun = time.monotonic()
            number = case.removeprefix("restore ")
            fields = drill.restore(int(number)) if number != case else drill.whole(wholes[case])
            results.note(case=case, **fields, seconds=round(time.monotonic() - begun, 1))
            failed += [] if fields["passed"] else [case]
            print(f"{case}: {fields}", flush=True)
        if not epochs_are_whole(drill.reference["ledger"]):
            failed.append("epochs of the run that stays")
    print(f"not as they must: {failed}" if failed else "every case went as it must")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
