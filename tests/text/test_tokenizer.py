import pickle

import numpy as np
import pytest

from videobert_jax.text import tokenizer as tokenizers

TEXTS = [
    "Cut the onion into thin slices",
    "stir the soup with a wooden spoon",
    "pour the olive oil into the pan",
    "spread butter on the bread",
    "peel the potatoes and cut them",
    "Add 2 cloves of garlic; fry until golden",
] * 4


@pytest.fixture(scope="module")
def model() -> bytes:
    return tokenizers.train(TEXTS, 400)


def test_special_pieces_have_their_ids_and_bytes_follow(model):
    tokenizer = tokenizers.Tokenizer(model)
    assert [tokenizer.piece(i) for i in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.piece(5) == "<0x00>" and tokenizer.piece(260) == "<0xFF>"
    assert tokenizer.first_regular_id == 261
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id)
    assert (*ids, tokenizer.mask_id) == (0, 1, 2, 3, 4)
    assert 261 < tokenizer.size <= 400


def test_same_texts_give_the_same_bytes(model):
    assert tokenizers.train(iter(TEXTS), 400) == model
    assert tokenizers.train(TEXTS[:-1] + ["whisk the eggs"], 400) != model


def test_text_comes_back_normalised_and_nothing_is_unknown(model):
    tokenizer = tokenizers.Tokenizer(model)
    texts = ["Cut the ONION", "", "crème brûlée 湯 🍲", "[MASK] [CLS]"]
    encoded = tokenizer.encode(texts)
    assert encoded[1] == []
    assert tokenizer.decode(encoded[0]) == "cut the onion"
    assert tokenizer.decode(encoded[2]) == "crème brûlée 湯 🍲"
    assert all(tokenizer.unk_id not in ids for ids in encoded)
    # Written in a caption, the names of special pieces are text like any other.
    assert not {tokenizer.mask_id, tokenizer.cls_id} & set(encoded[3])


def test_word_starts_split_a_sentence_into_its_words(model):
    tokenizer = tokenizers.Tokenizer(model)
    text = "pour the garlic soup into golden bread"
    (ids,) = tokenizer.encode([text])
    words = np.split(np.array(ids), np.flatnonzero(tokenizer.word_starts[ids])[1:])
    assert [tokenizer.decode(word) for word in words] == text.split()
    assert len(ids) > len(words), "every word is one piece: nothing was shown"
    assert not tokenizer.word_starts[: tokenizer.first_regular_id].any()


def test_a_pickled_copy_encodes_alike(model):
    tokenizer = tokenizers.Tokenizer(model)
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(TEXTS) == tokenizer.encode(TEXTS)
    assert copy.digest == tokenizer.digest


def test_damage_and_strange_models_are_refused(model):
    digest = tokenizers.Tokenizer(model).digest
    flipped = bytearray(model)
    flipped[len(model) // 2] ^= 4
    with pytest.raises(tokenizers.TokenizerError, match="damaged or replaced"):
        tokenizers.Tokenizer(bytes(flipped), expected_digest=digest)
    with pytest.raises(tokenizers.TokenizerError):
        tokenizers.Tokenizer(b"")


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(tokenizers.TokenizerError, match="every caption is empty"):
        tokenizers.train(["", "  "], 400)
    with pytest.raises(tokenizers.TokenizerError, match="vocabulary_size=100"):
        tokenizers.train(TEXTS, 100)


def test_frequencies_are_those_of_the_text(model):
    tokenizer = tokenizers.Tokenizer(model)
    ids = np.concatenate([np.array(found) for found in tokenizer.encode(TEXTS)])
    counts = np.bincount(ids, minlength=tokenizer.size)
    the = tokenizer.encode(["the"])[0][0]
    assert tokenizer.frequencies[the] == pytest.approx(counts[the] / len(ids), rel=0.3)
    often, once = counts >= 16, counts == 4
    assert tokenizer.frequencies[often].mean() > 2 * tokenizer.frequencies[once].mean() > 0
    rarest = tokenizer.frequencies[tokenizer.first_regular_id :].min()
    assert (tokenizer.frequencies[: tokenizer.first_regular_id] == rarest).all()
