"""Points of a run at which a process kills itself: all can be set, and a killed writer leaves what
it had written."""

import pathlib
import signal
import subprocess
import sys

import pytest

from tests.drills import kill_points

ROOT = pathlib.Path(__file__).resolve().parents[2]
WRITER = """
import pathlib, sys
from tests.drills import kill_points
from videobert_jax.files import atomic

name, number, folder = sys.argv[1:]
folder = pathlib.Path(folder)
with kill_points.killed(f"{name},{number},{folder / 'mark'}"):
    for step in (1, 2):
        atomic.create_json(folder / "manifests" / f"{step}.json", {"step": step})
        atomic.write_json(folder / "config.json", {"step": step})
"""


@pytest.mark.parametrize("name", kill_points.POINTS)
def test_a_point_is_set_and_taken_back(name: str, tmp_path: pathlib.Path):
    killer = kill_points.Killer(1, tmp_path / "mark")
    with kill_points.POINTS[name].patch(killer):
        pass
    assert not (tmp_path / "mark").exists()


def test_there_are_as_many_as_the_documents_say():
    assert len(kill_points.POINTS) == 24


@pytest.mark.parametrize(
    "name, number, left",
    [
        pytest.param("settings-half", 1, {"manifests/1.json"}, marks=pytest.mark.long),
        pytest.param(
            "manifest-whole", 2, {"manifests/1.json", "config.json"}, marks=pytest.mark.long
        ),
        ("manifest-named", 2, {"manifests/1.json", "config.json", "manifests/2.json"}),
    ],
)
def test_a_writer_is_killed_in_the_middle(
    name: str, number: int, left: set[str], tmp_path: pathlib.Path
):
    (tmp_path / "manifests").mkdir()
    command = [sys.executable, "-c", WRITER, name, str(number), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    found = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.json")}
    assert {str(path) for path in found} == left
    half_written = list(tmp_path.rglob(".*.tmp"))  # of "manifest-named", whole: not yet removed
    assert len(half_written) == (0 if name == "manifest-named" else 1)
    assert (tmp_path / "mark").exists()
