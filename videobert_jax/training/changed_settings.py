"""Which settings of a run that goes on are others than before: refused, let through, or said.

WORKDIR/changes.json   every change of a start after the first: when, at which step, from what
                       to what, and whether --allow-change let it through
"""

import dataclasses
import difflib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from videobert_jax import configuration
from videobert_jax.files import atomic, storage
from videobert_jax.training import resume_rules, run_record
from videobert_jax.training.resume_rules import Kind
from videobert_jax.training.run_record import RunRecordError

CHANGES_FILE = "changes.json"
FORMAT = 1
_MISSING = "(not set)"


@dataclasses.dataclass(frozen=True)
class Change:
    """A setting that the workdir has otherwise. Values are JSON's, "(not set)" for none."""

    name: str
    there: Any
    now: Any

    @property
    def rule(self) -> resume_rules.Rule:
        return resume_rules.rule_of(self.name)

    def __str__(self) -> str:
        return f"{self.name}: {self.there!r} there, {self.now!r} now"


@dataclasses.dataclass(frozen=True)
class Accepted:
    """What a start goes on with.

    config: its settings as JSON. allowed: names given to --allow-change. changes: those that are
    said, let through among them. fingerprints: of all settings that checkpoints of this run were
    saved with.
    """

    config: dict[str, Any]
    allowed: frozenset[str]
    changes: tuple[Change, ...] = ()
    fingerprints: frozenset[str] = frozenset()

    @property
    def patterns(self) -> frozenset[str]:
        """The allowed names, and what they are called whatever source or stage they are of."""
        return self.allowed | {resume_rules.general_name(name) for name in self.allowed}

    def said(self) -> list[str]:
        """A line for each change."""
        return [
            f"{change}: "
            + ("let through by --allow-change" if change.name in self.allowed else "goes on")
            + f"; {change.rule.why}"
            for change in self.changes
        ]


def accept(workdir: storage.Path, config: dict[str, Any], allowed: Sequence[str] = ()) -> Accepted:
    """Compares the settings with those of the workdir's last start, if there was one.

    allowed: names of settings, and of "dataset" and "parameter_dtypes", that may be others though
    they must match. Raises RunRecordError where one differs that is not named, or where a name is
    unknown or can never change.
    """
    saved = _saved(workdir)
    _require_known(allowed, config, saved or {})
    if saved is None:
        return Accepted(config, frozenset(allowed))
    found = differences(saved, config)
    refused = [
        change
        for change in found
        if change.rule.kind is Kind.MUST_MATCH and change.name not in allowed
    ]
    if refused:
        lines = "".join(f"\n  {change}\n      {change.rule.why}" for change in refused)
        raise RunRecordError(
            f"{workdir} holds a run with other settings:{lines}\nNothing was changed. Give the old "
            "settings to continue it; or go on with the new ones by --allow-change="
            f"{','.join(change.name for change in refused)}; or say a new --workdir."
        )
    fingerprints = {run_record.fingerprint(saved), run_record.fingerprint(config)}
    for entry in recorded(workdir):
        fingerprints |= {entry["config_sha256_before"], entry["config_sha256"]}
    told = tuple(change for change in found if change.rule.kind is not Kind.FREE)
    return Accepted(config, frozenset(allowed), told, frozenset(fingerprints))


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[Change]:
    """Settings that differ, by name; what was not said before it existed is as good as said."""
    there, now = (
        {
            key: value
            for key, value in configuration.flat_settings(config).items()
            if not run_record.is_younger_default(key, value)
        }
        for config in (saved, given)
    )
    return [
        Change(key, there.get(key, _MISSING), now.get(key, _MISSING))
        for key in sorted(there.keys() | now.keys())
        if there.get(key, _MISSING) != now.get(key, _MISSING)
    ]


def require_steps(workdir: storage.Path, known: Sequence[int], num_steps: int) -> None:
    """Raises RunRecordError where the newest of the known steps is beyond the run's last one."""
    if known and known[-1] > num_steps:
        raise RunRecordError(
            f"{workdir}: its newest checkpoint is of step {known[-1]}, but training.num_steps is "
            f"{num_steps}; give {known[-1]} or more."
        )


def record(
    workdir: storage.Path, accepted: Accepted, step: int, data_changes: Sequence[str]
) -> None:
    """Adds to changes.json what this start changes, which begins at `step`; nothing where it
    changes nothing. It comes before config.json is written anew.

    data_changes: of what the run is trained on, in words.
    """
    config, before = accepted.config, run_record.read_settings(workdir)
    found = [change for change in differences(before, config) if change.rule.kind is not Kind.FREE]
    if not found and not data_changes:
        return
    entry = {
        "time": time.strftime("%FT%TZ", time.gmtime()),
        "step": step,
        "settings": [
            {
                "name": change.name,
                "before": change.there,
                "now": change.now,
                "rule": change.rule.kind.value,
                "allowed": change.name in accepted.allowed,
            }
            for change in found
        ],
        "data": list(data_changes),
        "config_sha256_before": run_record.fingerprint(before),
        "config_sha256": run_record.fingerprint(config),
    }
    fields = {"format": FORMAT, "changes": [*recorded(workdir), entry]}
    atomic.write_json(workdir / CHANGES_FILE, fields)


def recorded(workdir: storage.Path) -> list[dict[str, Any]]:
    """All changes of a run, oldest first. Raises RunRecordError."""
    path = workdir / CHANGES_FILE
    if not path.is_file():
        return []
    fields = run_record.read_json(path)
    run_record.require_format(path, fields, FORMAT)
    entries = fields.get("changes")
    digests = ("config_sha256_before", "config_sha256")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict)
        and "settings" in entry
        and all(isinstance(entry.get(name), str) for name in digests)
        for entry in entries
    ):
        raise RunRecordError(
            f"{path}: not what a run writes (expected a list of changes); put the run's own back."
        )
    return entries


def _saved(workdir: storage.Path) -> dict[str, Any] | None:
    """Settings of the workdir's last start; None where there was none. Raises RunRecordError."""
    path = workdir / run_record.CONFIG_FILE
    if path.is_file():
        return run_record.read_settings(workdir)
    occupied = [name for name in ("checkpoints", "manifests") if (workdir / name).exists()]
    if occupied:
        raise RunRecordError(
            f"{workdir}: has {' and '.join(occupied)} but no {run_record.CONFIG_FILE}, so it "
            "cannot be told whether they are of this run; put the file back, or use a new "
            "--workdir."
        )
    return None


def _require_known(
    allowed: Collection[str], config: Mapping[str, Any], saved: Mapping[str, Any]
) -> None:
    known = {
        *configuration.flat_settings(config),
        *configuration.flat_settings(saved),
        *(name for name in resume_rules.names() if "*" not in name),
    }
    for name in allowed:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
            hint = f"; near are {', '.join(near)}" if near else ""
            raise RunRecordError(
                f"--allow-change={name}: there is no such setting{hint}. Say dotted names as in "
                "configs/base.py, with commas between them."
            )
        rule = resume_rules.rule_of(name)
        if rule.kind is Kind.NEVER:
            raise RunRecordError(f"--allow-change={name}: it can never change: {rule.why}.")
