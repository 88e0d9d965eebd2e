"""Blanks filled with a candidate read as the sentence with the candidate in it."""

import pytest

from videobert_jax.text import templates
from videobert_jax.text import tokenizer as tokenizers

CAPTIONS = [
    "now let me show you how to chop the onion",
    "pour the oil into the pan, then stir the spring onion.",
    "chop the spring onion and fry the onion",
    "now let me show you how to stir the soup",
    "let's fry the leek in the oil",
] * 8


@pytest.fixture(scope="module")
def tokenizer() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer(tokenizers.train(CAPTIONS, 400))


def fill(blank: templates.Blank, word: str, tokenizer) -> list[int]:
    return [*blank.before, *tokenizer.encode([word])[0], *blank.after]


@pytest.mark.parametrize(
    "template", [templates.PAPER_TEMPLATE, "first, {verb} the {object}, then go on."]
)
def test_a_filled_template_has_the_pieces_of_the_sentence(template, tokenizer):
    blank = templates.blank(template, "verb", tokenizer)
    before, after = template.format(verb="chop", object="|").split("|")
    sentence = [
        *tokenizer.encode([before.strip()])[0],
        tokenizer.mask_id,
        *tokenizer.encode([f"a{after}"])[0][len(tokenizer.encode(["a"])[0]) :],
    ]
    assert fill(blank, "chop", tokenizer) == sentence
    assert blank.length(1) == len(sentence) + 2 - len(tokenizer.encode(["chop"])[0]) + 1


def test_the_object_is_tried_after_a_masked_verb(tokenizer):
    blank = templates.blank(templates.PAPER_TEMPLATE, "object", tokenizer)
    assert blank.before.count(tokenizer.mask_id) == 1 and blank.after == ()


def test_two_bare_masks_are_verb_and_object():
    text = "now let me show you how to [MASK] the [MASK]"
    assert templates.parse(text, ()) == templates.PAPER_TEMPLATE
    for wrong in ("show it", "[MASK]", "{verb} the {object} {object}", "{verb} {tool}"):
        with pytest.raises(templates.TemplateError, match="expected"):
            templates.parse(wrong, ("verb", "object"))


def test_a_mask_beside_a_named_slot_stays_a_mask(tokenizer):
    text = templates.parse("now [MASK] the [MASK], in the {pan}", ("pan",))
    assert text == "now [MASK] the [MASK], in the {pan}" and templates.slots(text) == ["pan"]
    named = templates.blank("now {verb} the {object}, in the {pan}", "pan", tokenizer)
    assert templates.blank(text, "pan", tokenizer) == named
    assert named.before.count(tokenizer.mask_id) == 2


def test_hidden_words_filled_again_give_the_caption(tokenizer):
    text = "pour the oil into the pan, then stir the spring onion."
    pieces = tokenizer.encode([text])[0]
    for word, place in (
        ("oil", (2, 1)),
        ("pan", (5, 1)),
        ("spring onion", (9, 2)),
        ("pour", (0, 1)),
    ):
        blank = templates.hide(text, [place], tokenizer)
        assert fill(blank, word, tokenizer) == pieces, word


def test_every_occurrence_is_hidden(tokenizer):
    text = "fry the onion until the onion is soft"
    blank = templates.hide(text, [(2, 1), (5, 1)], tokenizer)
    assert blank.after.count(tokenizer.mask_id) == 1
    assert not set(tokenizer.encode(["onion"])[0]) & {*blank.before, *blank.after}
