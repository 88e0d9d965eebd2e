"""Words and the places of label forms in captions."""

from videobert_jax.tasks import words


def test_the_longest_form_is_found_once():
    forms = {"onion": ["onion", "onions"], "spring_onion": ["spring onion"], "oil": ["oil"]}
    found = words.find_forms("Chop the spring onion, then fry onions and ONION.", forms)
    assert found == [
        ("spring_onion", "spring onion", [(2, 2)]),
        ("onion", "onions", [(6, 1), (8, 1)]),
    ]


def test_words_have_no_punctuation_and_no_capitals():
    assert words.words_of("Now, let's DICE (the) 2 onions!") == [
        "now",
        "let's",
        "dice",
        "the",
        "2",
        "onions",
    ]
