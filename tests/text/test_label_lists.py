"""Lists of verbs and objects of made captions, and what captions are labelled by them."""

import collections
import json

import pytest

from videobert_jax.text import label_lists

TAGS = {  # as a lexicon has them that knows no instructions
    **dict.fromkeys(("onion", "pan", "mix", "bowl", "oil", "deep", "fry", "salt"), "NN"),
    **dict.fromkeys(("onions", "tomatoes", "glass", "gla"), "NNS"),
    **dict.fromkeys(("cut", "stir", "curry"), "VB"),
    **dict.fromkeys(("leaves", "is"), "VBZ"),
    **dict.fromkeys(("flip", "hot"), "JJ"),
}
CAPTIONS = [
    "Cut the onion, the onions and the leaves",
    "mix the oil into the pan",
    "mix salt",
    "flip the onion and stir",
    "deep fry the onions in hot oil",
    "stir the mix in the pan",
    "fry it and cut tomatoes",
    "add curry and stir until it is hot",
    "put the curry into a glass",
    "fry leaves",
    "the gla",
    "",
]
SINGULARS = {"onions": "onion", "tomatoes": "tomato", "leaves": "leaf", "glass": "gla"}


def tagger(text: str) -> list[tuple[str, str]]:
    return [(word, TAGS.get(word, "IN")) for word in text.split()]


def derive(verbs: int = 5, objects: int = 10) -> label_lists.LabelLists:
    sizes = {"verb": verbs, "object": objects}
    return label_lists.derive(CAPTIONS, tagger, lambda w: SINGULARS.get(w, w), sizes, {"from": "x"})


def test_verbs_begin_captions_whatever_the_tagger_takes_them_for():
    lists = derive()
    # a noun and an adjective to the tagger; "deep" stands before a verb, "curry" never begins
    assert list(lists.forms["verb"]) == ["fry", "stir", "cut", "mix", "flip"]
    assert lists.captions["verb"] == {"stir": 3, "fry": 3, "cut": 2, "mix": 2, "flip": 1}
    assert all(said == [verb] for verb, said in lists.forms["verb"].items())


def test_objects_have_the_plurals_of_the_same_captions():
    forms = derive().forms["object"]
    assert forms["onion"] == ["onion", "onions"]
    # no "tomato" and no "leaf" is said; "is" is no object, nor a word in ss a plural
    assert forms["tomatoes"] == ["tomatoes"] and forms["leaves"] == ["leaves"]
    assert forms["glass"] == ["glass"] and "is" not in forms and "curry" in forms
    assert list(forms)[0] == "onion" and not set(forms) & set(derive().forms["verb"])


def test_a_caption_has_each_label_once_in_its_order():
    lists = derive()
    told = lists.told("Stir; then CUT the Onions, salt and onion: stir")
    assert told == {"verb": ["stir", "cut"], "object": ["onion", "salt"]}
    assert lists.told("take the mix off the pan and fry it") == {"verb": ["fry"], "object": ["pan"]}
    assert lists.told("wait") == {} == lists.told("")


def test_captions_are_counted_as_they_are_labelled():
    lists = derive()
    for kind in label_lists.KINDS:
        counted = collections.Counter(
            label for text in CAPTIONS for label in lists.told(text).get(kind, ())
        )
        assert counted == lists.captions[kind]


def test_too_few_words_are_an_error():
    with pytest.raises(label_lists.LabelListError, match="12 captions have 5 verbs, expected 6"):
        derive(verbs=6)


def test_lists_come_back_from_their_file_and_changed_ones_are_refused(tmp_path):
    path, lists = tmp_path / "lists.json", derive()
    label_lists.save(path, lists)
    assert label_lists.load(path) == lists
    fields = json.loads(path.read_text())
    fields["verb"]["fly"] = fields["verb"].pop("fry")
    path.write_text(json.dumps(fields))
    with pytest.raises(label_lists.LabelListError, match="lists.json: digests .* changed since"):
        label_lists.load(path)
    for content in ("", "[]", "{}", json.dumps({**fields, "verb": 3}), "\x00"):
        path.write_text(content)
        with pytest.raises(label_lists.LabelListError, match="lists.json.*`videobert label-lists`"):
            label_lists.load(path)
    with pytest.raises(label_lists.LabelListError, match="not readable"):
        label_lists.load(tmp_path / "none.json")
