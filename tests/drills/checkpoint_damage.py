"""Files of the newest checkpoint are damaged, one a case: a start must notice, name the step and
take the one before, or restore the very bits that were saved; never others in silence.

    python -m tests.drills.checkpoint_damage [--cases N] [--seed N] [--shard I/N] [--results FILE]
        [--without-verification]

The checkpoints are a small state's, saved and restored by the run's own code, with every file that
a run's have: arrays, orbax's metadata, data position, manifest. Cases go through all files and all
kinds of damage in turn; where in a file it lies is drawn. A case is a line of the results file at
once, and one that passed with this code is not run again. With --without-verification nothing is
compared with the manifest: then cases must fail, which shows that the drill bites.
"""

import collections
import contextlib
import io
import itertools
import logging
import pathlib
import random
import shutil
import sys
import tempfile
import time
from typing import Any
from unittest import mock

import jax
import numpy as np

from tests.drills import campaign
from tests.training.test_checkpoint import DATA_STATE, state_on, structs_of
from videobert_jax.cli import failures
from videobert_jax.training import checkpoint, checkpoint_folder, manifest

KINDS = ("flipped", "truncated", "zeroed", "deleted", "appended", "exchanged", "stale")
OLDER, NEWER = 1, 2
NOTICED, HARMLESS, SILENT = "noticed", "harmless", "wrong in silence"


class Drill:
    """A workdir of two checkpoints, copied for each case."""

    def __init__(self, folder: pathlib.Path, seed: int, *, verified: bool = True) -> None:
        self.base, self.copy, self.seed, self.verified = (
            folder / "base",
            folder / "copy",
            seed,
            verified,
        )
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]).reshape(1, 2), ("data", "fsdp"))
        states = {step: state_on(mesh, step) for step in (OLDER, NEWER)}
        checkpointer = checkpoint.Checkpointer(self.base, keep=2, config_sha256="c")
        for step, state in states.items():
            checkpointer.save(step, state, {**DATA_STATE, "step": step})
        checkpointer.close()
        self.structs = structs_of(states[NEWER])
        self.digests = {
            step: manifest.tree_digest(jax.device_get(state)) for step, state in states.items()
        }
        self.older, self.files = self._files(OLDER), self._files(NEWER)

    def _files(self, step: int) -> list[pathlib.Path]:
        """All that belongs to a step, relative to the workdir."""
        inside = self.base / checkpoint_folder.CHECKPOINTS / str(step)
        found = [path for path in inside.rglob("*") if path.is_file()]
        of_step = checkpoint_folder.manifest_path, checkpoint_folder.begun_path
        found += [path_of(self.base, step) for path_of in of_step]
        return sorted(path.relative_to(self.base) for path in found)

    def case(self, number: int) -> dict[str, Any]:
        """What was damaged, what came of it, and whether that is as it must be."""
        generator = random.Random(f"{self.seed} {number}")
        kinds = itertools.product(self.files, KINDS)
        path, kind = next(itertools.islice(kinds, number % (len(self.files) * len(KINDS)), None))
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.base, self.copy)
        how = self._damage(path, kind, generator)
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), self._verification():
                outcome = self._restored(said)
        except Exception as error:  # a start that ends so takes no checkpoint at all
            outcome = f"ended with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return {
            "case": number,
            "file": str(path),
            "damage": f"{kind}{how}",
            "outcome": outcome,
            "said": said.getvalue().splitlines()[:1],
            "passed": outcome in (NOTICED, HARMLESS),
        }

    def _damage(self, path: pathlib.Path, kind: str, generator: random.Random) -> str:
        """Damages a file of the copy; says where."""
        target = self.copy / path
        content = bytearray(target.read_bytes())
        place = generator.randrange(len(content)) if content else 0
        how = f" at {place} of {len(content)}"
        if kind == "flipped" and content:
            bit = generator.randrange(8)
            content[place] ^= 1 << bit
            how += f", bit {bit}"
        elif kind == "truncated":
            del content[place:]
        elif kind == "zeroed":
            end = generator.randint(place + 1, len(content)) if content else 0
            content[place:end] = bytes(end - place)
            how += f" to {end}"
        elif kind == "appended":
            content += generator.randbytes(generator.randint(1, 64))
        elif kind == "exchanged":
            other = self.copy / generator.choice([file for file in self.files if file != path])
            theirs = other.read_bytes()
            other.write_bytes(content)
            content, how = bytearray(theirs), f" with {other.relative_to(self.copy)}"
        elif kind == "stale":  # the file of the step before, or one of it where names are random
            content, how = bytearray(self._older(path, generator)), ""
        if kind == "deleted":
            target.unlink()
            return ""
        target.write_bytes(content)
        return how

    def _older(self, path: pathlib.Path, generator: random.Random) -> bytes:
        names = {f"{NEWER}{end}": f"{OLDER}{end}" for end in ("", ".json", ".begun")}
        same = pathlib.Path(*(names.get(part, part) for part in path.parts))
        return (
            self.base / (same if same in self.older else generator.choice(self.older))
        ).read_bytes()

    def _restored(self, said: io.StringIO) -> str:
        checkpointer = checkpoint.Checkpointer(self.copy, keep=2, config_sha256="c")
        restored = checkpointer.restore_latest(lambda step: self.structs)
        checkpointer.close()
        if restored is None:
            return "nothing restored"
        found = manifest.tree_digest(jax.device_get(restored.state))
        data = restored.data_state == {**DATA_STATE, "step": restored.step}
        if found != self.digests[restored.step] or not data:
            return SILENT
        if restored.step == NEWER:
            return HARMLESS
        named = (f"step {NEWER} does not verify", f"/{NEWER} is unfinished")
        return NOTICED if any(text in said.getvalue() for text in named) else "not said"

    def _verification(self) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        if not self.verified:
            for name in ("differing_leaves", "data_problems"):
                nothing = mock.patch.object(checkpoint_folder, name, lambda *_: [])
                stack.enter_context(nothing)
        return stack


def main() -> int:
    """0 where every case did as it must, 1 where one did not."""
    parser = campaign.parser(
        __doc__,
        "checkpoint_damage.jsonl",
        seed_of="where the damage lies",
        guard="verification",
        without="nothing is compared",
    )
    parser.add_argument("--cases", type=int, default=2000)
    arguments = parser.parse_args()
    verified = not arguments.without_verification
    about = {"seed": arguments.seed, "verified": verified}
    results = campaign.Results(arguments.results, about)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs each file it cannot read
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    counts, failed = collections.Counter(), []
    begun, done = time.monotonic(), results.passed() if verified else {}
    with tempfile.TemporaryDirectory(prefix="checkpoint_damage_") as name:
        drill = Drill(pathlib.Path(name), arguments.seed, verified=verified)
        for number in range(arguments.cases)[arguments.shard]:
            found = done.get(number) or results.note(**drill.case(number))
            counts["wrong" if not found["passed"] else found["outcome"]] += 1
            if not found["passed"]:
                failed.append(f"{found['damage']} {found['file']}: {found['outcome']}")
                print(f"case {number}: {failed[-1]}", flush=True)
    print(
        f"{counts.total()} cases: {counts[NOTICED]} noticed and the step before taken, "
        f"{counts[HARMLESS]} harmless, {len(failed)} not as they must "
        f"({time.monotonic() - begun:.0f} s)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
