"""`videobert render`: files by name, and errors that say what to give instead."""

import pytest

pytest.importorskip("PIL", reason="Pillow is not installed")
pytest.importorskip("av", reason="PyAV is not installed")

from videobert_jax.cli import main
from videobert_jax.kitchen import palette, rendering


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


@pytest.mark.parametrize("look", ["shine=1", "texture", "light=-1", "noise=much", "noise=inf"])
def test_a_look_that_there_is_not_is_an_error(tmp_path, capsys, look):
    arguments = ["render", "kitchen", f"--look={look}", "--output", str(tmp_path)]
    assert main.main(arguments) == 2
    assert "camera_shake, light, clutter, colour_jitter with a number" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_look_is_that_of_the_pictures(tmp_path, monkeypatch):
    looks = []

    def render(plan, output, look):
        looks.append(look)
        return output / "a.mp4", output / "a.vtt"

    monkeypatch.setattr(rendering, "render_video", render)
    arguments = ["render", "kitchen", "--look=texture=0.5,light=2,clutter=0,colour_jitter=3"]
    assert main.main([*arguments, "--output", str(tmp_path)]) == 0
    expected = palette.Look(0.5, 1.0, 1.0, 2.0, False, 3)
    assert looks == [expected] and type(looks[0].clutter) is bool
