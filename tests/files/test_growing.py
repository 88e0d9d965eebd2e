"""Files that grow, on a disk that takes no more for a while."""

import pathlib
import resource

import pytest

from videobert_jax.files.growing import GrowingFile


def test_what_a_full_disk_does_not_take_is_there_once_it_does(tmp_path: pathlib.Path):
    path = tmp_path / "metrics.jsonl"
    file = GrowingFile(path)
    file.write(b"first\n")
    file.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        file.write(b"second\n")
        file.flush()  # a run goes on
        with pytest.raises(OSError, match="too large"):
            file.sync()  # a checkpoint does not count without
        assert path.read_bytes() == b"first\nseco"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write(b"third\n")
    file.close()
    assert path.read_bytes() == b"first\nsecond\nthird\n"
