"""`videobert render`: files by name, and errors that say what to give instead."""

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed")
pytest.importorskip("av", reason="PyAV is not installed")

from videobert_jax.cli import main


def test_videos_are_rendered_by_name(tmp_path, capsys):
    arguments = ["render", "kitchen", "--videos", "kitchen_0001", "--output", str(tmp_path)]
    assert main.main(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "kitchen_0001.mp4",
        "kitchen_0001.vtt",
    ]
    assert "test split" in capsys.readouterr().out


@pytest.mark.parametrize("videos", ["0", "-3", "pancake", "kitchen_1,soup"])
def test_names_that_do_not_exist_are_an_error(tmp_path, capsys, videos):
    arguments = ["render", "kitchen", f"--videos={videos}", "--output", str(tmp_path)]
    assert main.main(arguments) == 2
    assert "kitchen_0007" in capsys.readouterr().err


def test_extract_needs_a_folder_for_the_assets(tmp_path, capsys):
    assert main.main(["render", "kitchen", "--extract", "--output", str(tmp_path)]) == 2
    assert "--assets" in capsys.readouterr().err
