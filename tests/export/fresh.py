"""Fresh processes that may not import this package: what a user of an export has."""

import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "export.md"

_REFUSE = """
import sys

FORBIDDEN = {forbidden!r}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ImportError(f"{{name}} is forbidden here")

sys.meta_path.insert(0, Refuse())
"""
_THEN = """
import numpy as np

given = np.load("given.npz")
calls = {calls!r}
results = {{}}
for number, (name, inputs) in enumerate(calls):
    for key, value in function(name)(*(given[f"{{number}}.{{each}}"] for each in inputs)).items():
        results[f"{{number}}.{{key}}"] = np.asarray(value)
np.savez("gave.npz", **results)
assert not set(FORBIDDEN) & {{name.split(".")[0] for name in sys.modules}}
"""


def shown(title: str) -> str:
    """The Python code that docs/export.md shows under the heading."""
    section = DOCUMENT.read_text().split(f"\n### {title}\n")[1].split("\n#")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return code


def run(
    code: str,
    folder: pathlib.Path,
    calls: Sequence[tuple[str, dict[str, np.ndarray]]],
    forbidden: Sequence[str],
) -> list[dict[str, np.ndarray]]:
    """Outputs by name of each call of `function(NAME)`, which `code` defines over the folder DIR,
    in a process where importing one of `forbidden` is an error."""
    given = {
        f"{i}.{key}": value for i, (_, inputs) in enumerate(calls) for key, value in inputs.items()
    }
    np.savez(folder.parent / "given.npz", **given)
    listed = [(name, list(inputs)) for name, inputs in calls]
    code = code.replace('"DIR"', repr(str(folder)))
    script = _REFUSE.format(forbidden=[*forbidden]) + code + _THEN.format(calls=listed)
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    gave = np.load(folder.parent / "gave.npz")
    return [
        {key.partition(".")[2]: gave[key] for key in gave if key.startswith(f"{number}.")}
        for number in range(len(calls))
    ]
