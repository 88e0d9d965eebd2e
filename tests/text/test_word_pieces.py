import json
import pathlib
import pickle
from typing import Any

import numpy as np
import pytest

from tests import berts
from videobert_jax.schema import SPECIAL_PIECES
from videobert_jax.text import tokenizer as tokenizers
from videobert_jax.text import word_pieces

TEXTS = ["Cut the onions slowly, now", "the egg", "pour the salt into the pan."]


def published(folder: pathlib.Path) -> word_pieces.Published:
    return word_pieces.read_published(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return berts.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def model(folder) -> bytes:
    return word_pieces.model_of(published(folder).vocabulary, TEXTS)


@pytest.fixture(scope="module")
def tokenizer(model) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer(model)


def test_special_pieces_come_first_and_unused_ones_are_not_regular(folder, tokenizer):
    assert tokenizer.pieces[:7] == (*SPECIAL_PIECES, "[unused0]", "[unused1]")
    assert tokenizer.first_regular_id == 7 and tokenizer.size == len(berts.PIECES)
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id)
    assert (*ids, tokenizer.mask_id) == (0, 1, 2, 3, 4)
    assert [berts.PIECES[i] for i in published(folder).ids] == list(tokenizer.pieces)


def test_text_becomes_the_longest_pieces_of_its_words(tokenizer):
    found = tokenizer.encode(["Cut the ÓNIONS slowly, now", "", "egg's 湯", "abed [MASK]"])
    pieces = [[tokenizer.piece(i) for i in ids] for ids in found]
    assert pieces[0] == ["cut", "the", "onion", "##s", "slow", "##ly", ",", "now"]
    assert pieces[1] == []
    assert pieces[2] == ["egg", "'", "[UNK]", "[UNK]"]
    # Written in a caption, the names of special pieces are text like any other.
    assert pieces[3] == ["a", "##b", "##ed", "[UNK]", "[UNK]", "[UNK]"]
    assert tokenizer.decode([tokenizer.cls_id, *found[0]]) == "cut the onions slowly , now"
    assert tokenizer.decode(np.array(found[2])) == "egg ' [UNK] [UNK]"


def test_a_long_text_is_not_cut(tokenizer):
    """The file of the fixture asks for 8 pieces at most, as published ones do."""
    assert len(tokenizer.encode(["egg " * 50])[0]) == 50


def test_words_begin_where_no_piece_goes_on(tokenizer):
    (ids,) = tokenizer.encode(["cut onions slowly 湯"])
    assert tokenizer.word_starts[ids].tolist() == [True, True, False, True, False, True]
    assert not tokenizer.word_starts[[0, 2, 3, 4, 5, 6]].any()


def test_frequencies_are_counted(tokenizer):
    (the, salt, carrot) = (tokenizer.encode([word])[0][0] for word in ("the", "salt", "carrot"))
    assert tokenizer.frequencies.sum() == pytest.approx(1.0)
    assert tokenizer.frequencies[the] == pytest.approx(4 * tokenizer.frequencies[salt])
    assert tokenizer.frequencies[carrot] == tokenizer.frequencies[salt]  # never came: the rarest
    with pytest.raises(ValueError, match="read-only"):
        tokenizer.frequencies[0] = 1.0


def test_a_pickled_copy_encodes_alike_and_equal_texts_give_equal_bytes(folder, model, tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(TEXTS) == tokenizer.encode(TEXTS) and copy.digest == tokenizer.digest
    again = word_pieces.model_of(published(folder).vocabulary, iter(TEXTS))
    assert again == model
    assert word_pieces.model_of(published(folder).vocabulary, TEXTS[:2]) != model


@pytest.mark.parametrize("lower", [True, False])
def test_a_vocabulary_list_reads_like_the_tokenizer_file(tmp_path, lower):
    berts.write(tmp_path, tokenizer=berts.tokenizer_json(berts.PIECES, lowercase=lower))
    expected = published(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(berts.PIECES) + "\n")
    with pytest.raises(tokenizers.TokenizerError, match="nothing says whether letters are made"):
        published(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    found = published(tmp_path)
    assert found.vocabulary == expected.vocabulary
    np.testing.assert_array_equal(found.ids, expected.ids)
    model = word_pieces.model_of(found.vocabulary, TEXTS)
    first = tokenizers.Tokenizer(model).encode(["Cut"])[0][0]
    assert (first == tokenizers.Tokenizer(model).unk_id) is not lower


def changed(path: str, value: Any) -> dict[str, Any]:
    """The tokenizer.json of the fixture with one place changed."""
    fields = berts.tokenizer_json(berts.PIECES)
    *parents, leaf = path.split("/")
    node = fields
    for name in parents:
        node = node[name]
    node[leaf] = value
    return fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (changed("model/type", "BPE"), "its model is 'BPE', expected 'WordPiece'"),
        (changed("normalizer/type", "Lowercase"), "normalizer is 'Lowercase'"),
        (changed("pre_tokenizer/type", "Whitespace"), "pre_tokenizer is 'Whitespace'"),
        (changed("model/unk_token", "<unk>"), "unk_token is '<unk>'"),
        (changed("normalizer/lowercase", "yes"), "lowercase is 'yes', expected .*bool"),
        (changed("normalizer", None), "normalizer is 'None', expected .*dict"),
        (changed("model/vocab/the", 3), "are not 0 to 46, each once"),
        (changed("model/vocab/the", "13"), "are not 0 to 46, each once"),
        (changed("added_tokens", [{"content": "<url>"}]), r"\['<url>'\] are added"),
        (changed("model/max_input_chars_per_word", 2**64), "per_word is 18446744073709551616, exp"),
        (changed("model/max_input_chars_per_word", -1), "per_word is -1, expected 1 to"),
        (changed("added_tokens", -1), "added_tokens is '-1', expected list"),
        (changed("model/vocab/\ud800", 47), "not JSON .*surrogates"),
        (berts.tokenizer_json(berts.PIECES[:8]), r"lacks \[MASK\], which every BERT has"),
        ([], "expected a JSON object, found list"),
    ],
)
def test_another_tokenizer_file_is_named(tmp_path, fields, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(tokenizers.TokenizerError, match=message):
        published(tmp_path)


def test_files_that_are_not_there_damaged_or_at_odds_are_named(tmp_path):
    with pytest.raises(tokenizers.TokenizerError, match=r"neither tokenizer.json nor vocab.txt"):
        published(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(tokenizers.TokenizerError, match="tokenizer.json: not JSON"):
        published(tmp_path)
    berts.write(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with pytest.raises(
        tokenizers.TokenizerError, match="lowercase is True, .* do_lower_case False"
    ):
        published(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join([*berts.PIECES, "the"]))
    with pytest.raises(tokenizers.TokenizerError, match="the piece 'the' comes twice"):
        published(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(tokenizers.TokenizerError, match="vocab.txt: not text in UTF-8"):
        published(tmp_path)


def test_nothing_to_count_is_an_error(folder):
    with pytest.raises(tokenizers.TokenizerError, match="every caption is empty"):
        word_pieces.model_of(published(folder).vocabulary, ["", "  "])


def test_other_bytes_are_no_tokenizer(folder, model):
    fields = json.loads(model)
    cases = {
        "neither a sentencepiece model nor word pieces": b"PK\x03\x04",
        "not JSON": model[:-9],
        "of the format None version None": (folder / "tokenizer.json").read_bytes(),
        "version 2": json.dumps(fields | {"format_version": 2}).encode(),
        "3 counts of 47 pieces": json.dumps(fields | {"counts": [1, 2, 3]}).encode(),
        r"pieces 0 to 4 are \['\[PAD\]', '\[unused0\]'": json.dumps(
            fields | {"tokenizer": berts.tokenizer_json(berts.PIECES)}
        ).encode(),
        "no piece of its 5 stands for text": json.dumps(
            fields | {"tokenizer": berts.tokenizer_json(list(SPECIAL_PIECES)), "counts": [1] * 5}
        ).encode(),
    }
    for message, content in cases.items():
        with pytest.raises(tokenizers.TokenizerError, match=message):
            tokenizers.Tokenizer(content)
            pytest.fail(message)
