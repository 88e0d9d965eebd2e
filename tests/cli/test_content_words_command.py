"""The command on a tiny dataset, and what the real tagger makes of cooking."""

import pytest

from videobert_jax.cli import main
from videobert_jax.data import index
from videobert_jax.text import content_words


def test_all_words_are_counted_without_a_tagger(tiny_dataset, tmp_path, capsys):
    output = tmp_path / "words.json"
    words = ("content-words", "--dataset", tiny_dataset, "--output", output, "--words", "all")
    assert main.main([str(word) for word in words]) == 0
    found = content_words.load(output)
    split = index.open_dataset(tiny_dataset).split("train")
    texts = split.texts(range(len(split)))
    assert found.captions == len(texts)
    assert found.words == {
        word: sum(word in text.split() for text in texts) for word in " ".join(texts).split()
    }
    assert found.about["split"] == "train" and found.about["words"] == "all"
    assert f"onion {found.weight('onion'):.2f}" in capsys.readouterr().out
    assert main.main([*(str(word) for word in words), "--captions", "0"]) == 2
    assert "expected 1 or more" in capsys.readouterr().err


def test_nouns_and_verbs_of_a_dataset(tiny_dataset, tmp_path):
    pytest.importorskip("textblob")
    output = tmp_path / "words.json"
    words = ["content-words", "--dataset", str(tiny_dataset), "--output", str(output)]
    assert main.main(words) == 0
    found = set(content_words.load(output).words)
    assert found >= {"stir", "pour", "onion", "carrot", "egg", "pan", "bowl", "salt"}
    assert not found & {"the", "now", "into", "with", "slowly"}
