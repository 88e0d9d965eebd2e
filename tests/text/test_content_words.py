"""Content words: which they are, how rare, and where they stand in pieces of any tokenizer."""

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest

from videobert_jax.schema import SPECIAL_PIECES
from videobert_jax.text import content_words, tokenizer, word_pieces

TEXTS = [
    "Cut the Onion, and stir!",
    "now pour the batter into the pan",
    "it's my mother's all-purpose flour; Crème brûlée",
    "12 eggs & 3 tomatoes 🍅onion",
    "   ",
    "stir, stir: the stir is over",
    "over and over",
]
TAGS = {
    **dict.fromkeys("cut pour is".split(), "VB"),
    **dict.fromkeys("onion batter pan mother purpose flour crème brûlée over".split(), "NN"),
    **dict.fromkeys("eggs tomatoes".split(), "NNS"),
}


def tagger(text: str) -> list[tuple[str, str]]:
    """Says "stir" is a verb where it begins a phrase, and "over" a noun where it begins a text."""
    tokens = text.split()
    tags = [TAGS.get(token, "DT") for token in tokens]
    for place, token in enumerate(tokens):
        if token == "stir":
            tags[place] = "VB" if place == 0 or tokens[place - 1] in ("and", ",") else "JJ"
        if token == "over":
            tags[place] = "NN" if place == 0 else "IN"
    return list(zip(tokens, tags, strict=True))


@pytest.fixture(scope="module")
def words() -> content_words.ContentWords:
    return content_words.count(TEXTS, tagger, {"split": "train"})


def test_words_are_content_words_by_the_majority_of_their_uses(words):
    expected = "cut onion stir pour batter pan is mother purpose flour crème brûlée eggs tomatoes"
    assert set(words.words) == set(expected.split())
    assert words.captions == 6  # one is blank
    assert words.words["onion"] == 2 and words.words["stir"] == 2  # captions, not uses
    assert words.weight("stir") == pytest.approx(math.log(6 / 2)) and words.weight("the") == 0
    everything = content_words.count(TEXTS, None, {})
    assert {"the", "12", "s"} < set(everything.words)
    with pytest.raises(content_words.ContentWordsError, match="none of them a content word"):
        content_words.count(TEXTS, lambda text: [(token, "DT") for token in text.split()], {})


def sentencepieces() -> tokenizer.Tokenizer:
    return tokenizer.Tokenizer(tokenizer.train(TEXTS * 20, 340))


def bert_pieces(lower_case: bool) -> tokenizer.Tokenizer:
    text = "".join(TEXTS) + "".join(TEXTS).lower()
    letters = sorted({letter for letter in text if not letter.isspace()})
    whole = ["onion", "Onion", "stir", "mother", "##ion", "##ur"]
    pieces = [*SPECIAL_PIECES, *dict.fromkeys(letters), *(f"##{x}" for x in dict.fromkeys(letters))]
    vocabulary = word_pieces.Vocabulary(
        tuple(dict.fromkeys([*pieces, *whole])), lower_case, None, True, True, "##", 100
    )
    return tokenizer.Tokenizer(word_pieces.model_of(vocabulary, TEXTS))


EXPECTED = {
    0: ["cut", "onion", "stir"],
    1: ["pour", "batter", "pan"],
    2: ["mother", "purpose", "flour", "crème", "brûlée"],
    3: ["eggs", "tomatoes", "onion"],
    5: ["stir"] * 3 + ["is"],
}


@pytest.mark.parametrize(
    "make", [sentencepieces, lambda: bert_pieces(True), lambda: bert_pieces(False)]
)
def test_words_are_found_however_they_are_cut_into_pieces(words, make):
    made = make()
    weights = pickle.loads(pickle.dumps(content_words.WordWeights(words, made)))
    for number, expected in EXPECTED.items():
        ids = np.array(made.encode([TEXTS[number]])[0], np.int32)
        found = weights.of_pieces(ids)
        assert found.dtype == np.float32 and found.shape == ids.shape
        assert found.sum() == pytest.approx(sum(map(words.weight, expected)), rel=1e-5)
        weighted = made.decode(ids[found > 0]).casefold().replace(" ", "")
        plain = "".join(expected).replace("è", "e").replace("û", "u").replace("é", "e")
        assert weighted in ("".join(expected), plain)
    together = [made.encode([TEXTS[number]])[0] for number in EXPECTED]
    alone = [weights.of_pieces(np.array(ids)) for ids in together]
    np.testing.assert_array_equal(
        weights.of_pieces(np.concatenate(together)), np.concatenate(alone)
    )
    assert weights.of_pieces(np.zeros(0, np.int32)).shape == (0,)


def test_letters_that_the_tokenizer_spells_in_bytes_are_letters():
    made = sentencepieces()
    ids = np.array(made.encode(["stir ŝi"])[0], np.int32)
    assert (ids < made.first_regular_id).sum() == 2
    weights = content_words.WordWeights(content_words.ContentWords(3, {"ŝi": 1}, {}), made)
    found = weights.of_pieces(ids)
    assert (found[ids < made.first_regular_id] > 0).all() and found.sum() == pytest.approx(
        math.log(3)
    )


def test_a_word_that_is_cut_off_is_another_word(words):
    made = sentencepieces()
    ids = np.array(made.encode(["stir the tomatoes"])[0], np.int32)
    weights = content_words.WordWeights(words, made)
    whole, cut = weights.of_pieces(ids), weights.of_pieces(ids[:-1])
    assert whole[-1] > 0 and cut.sum() == pytest.approx(words.weight("stir"), rel=1e-5)


def test_files_give_the_same_words_back_and_others_are_refused(words, tmp_path):
    path = tmp_path / "words.json"
    content_words.save(path, words)
    assert content_words.load(path) == words
    assert content_words.load(path).digest == words.digest
    assert dataclasses.replace(words, captions=7).digest != words.digest
    fields = json.loads(path.read_text())
    for damage, message in (
        ({"format": "other"}, "format .'other', 1., expected"),
        ({"words": {"onion": 9}}, "more captions than the 6"),
        ({"captions": 10**40}, "counted over 1000.* captions, expected a whole number"),
        ({"words": ["onion"]}, "not a file of content words"),
    ):
        path.write_text(json.dumps({**fields, **damage}))
        with pytest.raises(content_words.ContentWordsError, match=message):
            content_words.load(path)
    path.write_text('{"format": 1}')
    with pytest.raises(content_words.ContentWordsError, match="make the file with"):
        content_words.load(path)
    foreign = content_words.ContentWords(5, {"☃": 1}, {})
    with pytest.raises(content_words.ContentWordsError, match="in its language"):
        content_words.WordWeights(foreign, sentencepieces())
