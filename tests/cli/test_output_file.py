"""Commands that write one file at their end find out first whether they can."""

import pytest

from videobert_jax.cli import main

COMMANDS = {
    "align": ["--dataset=set"],
    "cluster-videos": ["--dataset=set", "--checkpoint=run"],
    "content-words": ["--dataset=set", "--words=all"],
    "fit-visual-words": ["--dataset=set"],
    "label-lists": ["--annotations=set"],
}


def refused(command, output, capsys) -> str:
    with pytest.raises(SystemExit, match="2"):
        main.main([command, *COMMANDS[command], f"--output={output}"])
    return capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_written_is_refused_before_anything_is_read(
    command, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").write_text("here")
    assert "is a folder; name a file in it" in refused(command, tmp_path, capsys)
    for inside in ("file/x", "file/deeper/x"):
        found = refused(command, tmp_path / inside, capsys)
        assert "its folder cannot be made (" in found and "name a file elsewhere" in found
    monkeypatch.setattr("os.access", lambda path, mode: False)
    found = refused(command, tmp_path / "x", capsys)
    assert f"nothing can be written to {tmp_path}; name a file elsewhere" in found


def test_the_folder_of_the_file_is_made(tiny_dataset, tmp_path):
    output = tmp_path / "deep" / "er" / "words.json"
    words = ["content-words", f"--dataset={tiny_dataset}", "--words=all", f"--output={output}"]
    assert main.main(words) == 0 and output.is_file()
