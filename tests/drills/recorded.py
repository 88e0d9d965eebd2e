"""What a run saves, restores and reads, written down beside it by each of its processes."""

import contextlib
import json
import pathlib
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.experimental import multihost_utils

from videobert_jax.data.device_feed import DeviceFeed
from videobert_jax.training import checkpoint, manifest

SAVED, RESTORED, READ = "saved", "restored", "read"


class Recorder(contextlib.ExitStack):
    """While it is entered, lines of a file: of each save and restore the step and the digest of the
    whole state, of each batch its step and the examples of the blocks that this process has."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.path, self.step = path, 0

    def __enter__(self) -> "Recorder":
        save, restore = checkpoint.Checkpointer.save, checkpoint.Checkpointer.restore_latest
        take = DeviceFeed.__next__

        def saved(checkpointer: Any, step: int, state: Any, data_state: Any) -> None:
            self._note(event=SAVED, step=step, digest=digest(state))
            save(checkpointer, step, state, data_state)

        def restored(checkpointer: Any, structs_of: Any) -> Any:
            found = restore(checkpointer, structs_of)
            if found is not None:
                self.step = found.step
                self._note(event=RESTORED, step=found.step, digest=digest(found.state))
            return found

        def taken(feed: DeviceFeed) -> Any:
            batch, report = take(feed)
            self._note(event=READ, step=self.step, blocks=_blocks(batch))
            self.step += 1
            return batch, report

        for where, name, replaced in (
            (checkpoint.Checkpointer, "save", saved),
            (checkpoint.Checkpointer, "restore_latest", restored),
            (DeviceFeed, "__next__", taken),
        ):
            self.enter_context(mock.patch.object(where, name, replaced))
        return self

    def _note(self, **fields: Any) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")


def lines(path: pathlib.Path, event: str) -> list[dict[str, Any]]:
    """What a recorder wrote of one kind of event, in order."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line["event"] == event]


def digest(state: Any) -> str:
    """Of a state's values, however it is laid out; every process must ask."""
    if jax.process_count() > 1:
        state = multihost_utils.process_allgather(state, tiled=True)
    return manifest.tree_digest(jax.device_get(state))


def _blocks(batch: Any) -> dict[str, dict[str, Any]]:
    """Ids of the examples, and whether none has clips, of each block by its number in the batch."""
    kinds = {
        shard.index[0].start: shard.data for shard in batch.video_segment_ids.addressable_shards
    }
    found = {}
    for shard in batch.example_ids.addressable_shards:
        if shard.replica_id:
            continue
        first = shard.index[0].start
        without_clips = ~np.asarray(kinds[first] > 0).any(axis=(1, 2))
        for number, ids in enumerate(np.asarray(shard.data)):
            found[str((first or 0) + number)] = {
                "ids": ids.ravel().tolist(),
                "text_only": bool(without_clips[number]),
            }
    return found
