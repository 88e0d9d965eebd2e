import pathlib

import jax
import pytest

from videobert_jax.files import compilation_cache

FOLDER, SHORTEST = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture
def no_folder():
    """jax as it is where nobody has said where to keep programs."""
    before = {name: jax.config._read(name) for name in (FOLDER, SHORTEST)}
    jax.config.update(FOLDER, None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_where_nobody_has_said(no_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path))
    compilation_cache.use()
    assert jax.config._read(FOLDER) == str(tmp_path / "xla")
    assert jax.config._read(SHORTEST) < 0.1  # else tiny networks compile anew


def test_they_stay_where_the_user_has_them(no_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEOBERT_CACHE", str(tmp_path))
    jax.config.update(FOLDER, "elsewhere")
    compilation_cache.use()
    assert jax.config._read(FOLDER) == "elsewhere"


def test_without_a_home_nothing_is_kept(no_folder, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("VIDEOBERT_CACHE", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", none)
    compilation_cache.use()
    assert jax.config._read(FOLDER) is None


def test_in_a_folder_that_is_given_all_are_kept(no_folder, tmp_path):
    """What autotuning chose for the quickest program is a choice, too."""
    compilation_cache.use(tmp_path)
    assert jax.config._read(FOLDER) == str(tmp_path)
    assert jax.config._read(SHORTEST) == 0.0
