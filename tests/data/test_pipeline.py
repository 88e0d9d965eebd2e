import dataclasses
import importlib.util
import subprocess
import sys
import threading
import time

import pytest

from tests.data import blocks
from videobert_jax.data import block, pipeline
from videobert_jax.data.index import DatasetError

EXECUTORS = ("threads", "tf")


@pytest.fixture(scope="module")
def builder(finished_path):
    from videobert_jax.data import index

    dataset = index.open_dataset(finished_path)
    tokenizer = blocks.make_tokenizer(dataset)
    sources = [
        (dataset.split("train"), "text_video", 2.0),
        (dataset.split("spoken"), "text_only", 1.0),
    ]
    return block.BlockBuilder(
        sources, tokenizer, blocks.settings(examples=2, text_length=96, video_length=80)
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_executors_give_the_bytes_of_plain_calls(builder, executor, workers):
    numbers = [7, 0, 1, 2, 30, 4, 5, 6, 3]
    given = pipeline.iterate(builder, numbers, executor=executor, workers=workers, prefetch=1)
    for k, found in zip(numbers, given, strict=True):
        blocks.assert_same(found, builder.build(k))


@dataclasses.dataclass
class _Slow:
    """Takes its time, most of all over block 0, and fails at a block."""

    builder: block.BlockBuilder
    fails_at: int = -1
    built: list[int] = dataclasses.field(default_factory=list)

    def build(self, k: int) -> block.HostBlock:
        if k == self.fails_at:
            raise DatasetError(f"block {k} is damaged")
        time.sleep(0.1 if k == 0 else 0.03)
        self.built.append(k)
        return self.builder.build(k)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_blocks_come_in_order_and_errors_at_their_turn(builder, executor):
    slow = _Slow(builder, fails_at=3)
    given = pipeline.iterate(slow, range(9), executor=executor, workers=2, prefetch=4)
    for k in range(3):
        blocks.assert_same(next(given), builder.build(k))
    with pytest.raises(DatasetError, match="block 3 is damaged"):
        next(given)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_work_ahead_is_bounded_and_ends_when_closed(builder, executor):
    before = threading.active_count()
    slow = _Slow(builder)
    given = pipeline.iterate(slow, range(10**9), executor=executor, workers=2, prefetch=2)
    next(given)
    time.sleep(0.3)
    assert len(slow.built) <= 8
    next(given)  # something is under way again
    given.close()
    built = len(slow.built)
    time.sleep(0.1)
    if executor == "threads":  # tf.data ends the calls that have begun a little later
        assert len(slow.built) == built and threading.active_count() <= before
    else:
        assert len(slow.built) <= built + 2


def test_auto_is_tf_where_it_is_installed(monkeypatch):
    assert pipeline.resolve("auto") == "tf"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pipeline.resolve("auto") == "threads"


def test_threads_need_no_tensorflow():
    """A fresh process in which TensorFlow cannot be imported."""
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from videobert_jax.data import block, device_feed, pipeline\n"
        "from videobert_jax.files import extras\n"
        "class Builder:\n"
        "    def build(self, k): return k\n"
        "run = lambda e: list(pipeline.iterate(Builder(), range(3), executor=e, workers=1,"
        " prefetch=1))\n"
        "assert run('threads') == [0, 1, 2]\n"
        "try: run('tf')\n"
        "except extras.MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pip install tensorflow" in done.stdout


@pytest.mark.parametrize("changes", [{"executor": "spark"}, {"workers": 0}, {"prefetch": -1}])
def test_wrong_settings_are_refused(builder, changes):
    settings = {"executor": "threads", "workers": 1, "prefetch": 1} | changes
    with pytest.raises(ValueError, match="data.executor='spark'|data.workers="):
        pipeline.iterate(builder, range(2), **settings)
