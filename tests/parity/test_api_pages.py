"""`make docs`: pages of the API, each with what applications and extensions find there."""

import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

from docs import api
from tests import test_public_api

pytest.importorskip("pdoc", reason="pdoc is not installed")


def test_every_page_is_made_and_has_its_names(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "docs.api", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(api.__file__).parent.parent,
    )
    assert made.returncode == 0 and "Warn" not in made.stderr, made.stderr
    for name in api.PAGES:
        page = (tmp_path / f"{name.replace('.', '/')}.html").read_text()
        own = [of for of in test_public_api.PUBLIC if of.__module__ == name]
        assert all(f'id="{of.__name__}"' in page for of in own)
        assert inspect.getdoc(importlib.import_module(name)).splitlines()[0][:20] in page
