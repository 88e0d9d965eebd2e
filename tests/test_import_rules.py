"""Imports go one way, and TensorFlow stays out of what does without it."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "videobert_jax"

# Layer -> layers it may import besides itself, the schema, extensions.py and settings. Settings are
# modules named config and configuration.py: plain frozen dataclasses, and how they are read. The
# command line and the entry points compose the rest, and may import all of it.
ALLOWED: dict[str, set[str]] = {
    "files": set(),
    "text": {"files"},
    "sharding": set(),
    "video": {"text", "files", "sharding"},
    "data": {"text", "sharding", "files"},
    "models": {"sharding"},
    "objectives": {"models", "sharding"},
    "weights": {"models", "video", "text", "files"},
    "kitchen": {"video", "weights", "text", "data", "files"},
    "training": {"objectives", "weights", "models", "sharding", "data", "video", "text", "files"},
    "tasks": {"objectives", "models", "sharding", "data", "text", "files"},
    "export": {"models", "weights", "text", "files"},
    "report_page": {"tasks", "kitchen", "data", "files"},
    "inference": {"export", "models", "weights", "video", "text", "sharding", "files"},
    "search_index": {"loading", "inference", "video", "data", "files"},
    "demo": {"search_index", "inference", "objectives", "kitchen", "video", "files"},
}
MAY_IMPORT_TENSORFLOW = {"data/pipeline.py", "data/assembly.py"}
TENSORFLOW = {"tensorflow", "tensorflow_datasets"}


def imports(tree: ast.AST, path: pathlib.Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported when the file is) of every import of a file."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(path.parts[: -node.level]) if node.level else []
            stem = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            modules = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        above, at_import = parents.get(node), True
        while above is not None:
            at_import &= not isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef)
            above = parents.get(above)
        found += [(module, at_import) for module in modules]
    return found


def violations(path: pathlib.Path, source: str) -> list[str]:
    """What a file of the package (path from the package's parent) imports against the rules."""
    found, inside = [], pathlib.PurePath(*path.parts[1:])
    layer = inside.parts[0] if len(inside.parts) > 1 else ""
    for module, at_import in imports(ast.parse(source), path):
        names = module.split(".")
        if names[0] in TENSORFLOW and (inside.as_posix() not in MAY_IMPORT_TENSORFLOW or at_import):
            found.append(f"{path}: imports {module}")
        if names[0] != PACKAGE or layer not in ALLOWED or len(names) == 1:
            continue
        is_settings = names[1] == "configuration" or (len(names) > 2 and names[2] == "config")
        if names[1] not in {layer, "schema", "extensions", *ALLOWED[layer]} and not is_settings:
            found.append(f"{path}: {layer} imports {module}")
    return found


def package_files() -> list[pathlib.Path]:
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def test_imports_go_one_way():
    files = package_files()
    assert len(files) > 50
    found = [
        violation
        for file in files
        for violation in violations(file.relative_to(ROOT), file.read_text())
    ]
    assert found == []


def test_every_layer_is_known():
    layers = {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    assert layers - set(ALLOWED) == {"cli"}


def test_what_loads_other_packages_knows_nothing_of_ours():
    """Else any layer could reach any other through it."""
    file = ROOT / PACKAGE / "extensions.py"
    found = [module for module, _ in imports(ast.parse(file.read_text()), file)]
    assert found and not [module for module in found if module.startswith(PACKAGE)]


def test_settings_import_settings_alone():
    """Else their exemption would let any import through."""
    for file in package_files():
        if file.name == "config.py":
            assert [
                module
                for module, _ in imports(ast.parse(file.read_text()), file)
                if module.startswith(PACKAGE) and ".config" not in module
            ] == []


@pytest.mark.parametrize(
    ("path", "source", "caught"),
    [
        ("data/order.py", "import tensorflow as tf", True),
        ("data/pipeline.py", "import tensorflow as tf", True),
        ("data/pipeline.py", "def f():\n    import tensorflow as tf", False),
        ("data/order.py", "def f():\n    from tensorflow_datasets import core", True),
        ("models/layers.py", "from videobert_jax.training import state", True),
        ("models/layers.py", "from ..training import state", True),
        ("models/layers.py", "from videobert_jax.sharding import mesh", False),
        ("models/layers.py", "from videobert_jax import schema", False),
        ("models/bundle.py", "from videobert_jax.data.config import DataConfig", False),
        ("models/bundle.py", "from videobert_jax.data.block import HostBlock", True),
        ("training/loop.py", "from videobert_jax.tasks import retrieval", True),
        ("cli/plan.py", "from videobert_jax.tasks import retrieval", False),
    ],
)
def test_the_rules_catch_what_they_should(path, source, caught):
    assert bool(violations(pathlib.Path(PACKAGE, path), source)) is caught


def loaded_modules(code: str) -> set[str]:
    """Top-level modules in sys.modules after running `code` in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in result.stdout.split()}


def test_importing_the_package_loads_almost_nothing():
    loaded = loaded_modules("import videobert_jax; videobert_jax.load")
    assert PACKAGE in loaded
    assert not loaded & {"jax", "numpy", "tensorflow", "tensorflow_datasets", "orbax"}


def test_inference_and_the_training_step_do_without_tensorflow():
    loaded = loaded_modules("from videobert_jax.inference import model")
    assert "jax" in loaded
    assert not loaded & {"tensorflow", "tensorflow_datasets", "array_record", "orbax"}
    loaded = loaded_modules("from videobert_jax.training import steps, checkpoint")
    assert "orbax" in loaded
    assert not loaded & {"tensorflow", "tensorflow_datasets"}
