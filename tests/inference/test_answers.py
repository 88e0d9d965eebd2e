"""What the heads tell, against the network applied to one pair at a time, without padding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import bundles, fakes
from tests.inference import models
from videobert_jax.inference.inputs import InputError
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.models.videobert import VideoBert

TOLERANCE = 1e-5
ANSWERS = ("pan", "bowl", "board")
QUESTION = "what do we cut"


@pytest.fixture(scope="module")
def model(tiny_run) -> PretrainedModel:
    network = dataclasses.replace(tiny_run.model, answers=len(ANSWERS))
    made = bundles.tiny(dataclasses.replace(tiny_run, model=network))
    louder = jax.tree_util.tree_map_with_path(  # norms near 1, so that inputs matter
        lambda path, leaf: 1 + leaf if path[-1].key == "scale" else leaf, made.variables
    )
    return PretrainedModel(dataclasses.replace(made, variables=louder, answers=ANSWERS))


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    return models.videos((3, 8, 5))


class Direct:
    """The network, one pair at a time."""

    def __init__(self, model: PretrainedModel):
        self._network = VideoBert(model.bundle.config)
        self._variables = jax.tree.map(jnp.asarray, model.bundle.variables)
        self._outputs = jax.jit(self._apply)

    def _apply(self, variables, features, ids) -> dict[str, jax.Array]:
        def run(method, *inputs):
            return self._network.apply(variables, *inputs, method=method)

        sides = []
        for values, method in ((ids, "encode_text"), (features, "encode_video")):
            length = len(values)
            segments, places = jnp.ones((1, length), jnp.int32), jnp.arange(length)[None]
            hidden = () if method == "encode_text" else (jnp.zeros((1, length), bool),)
            sides += [run(method, values[None], segments, places, *hidden), segments]
        text, video = run("fuse", *sides)
        pooled = run("pool", text, sides[1], video, sides[3], 1)
        return {
            "matching": run("matching_logits", pooled)[0, 0],
            "answers": run("answer_logits", pooled)[0, 0, : len(ANSWERS)],
            "pieces": run("piece_logits", text)[0],
        }

    def __call__(self, name: str, features, ids) -> np.ndarray:
        told = self._outputs(self._variables, jnp.asarray(features), jnp.asarray(ids, jnp.int32))
        return np.asarray(told[name], np.float64)


@pytest.fixture(scope="module")
def direct(model) -> Direct:
    return Direct(model)


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum()


def windows(video: np.ndarray) -> list[np.ndarray]:
    """Of 18 clips."""
    return [video[first : first + 8] for first in (0, 4, 8, 10)]


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(18, fakes.FEATURE_DIM)).astype(np.float32)


def test_a_match_is_the_sigmoid_of_the_matching_head(model, direct, videos, long):
    texts = [*bundles.CAPTIONS[:3], "stir the egg"]
    ids = model.tokenize(texts)
    expected = [
        1 / (1 + np.exp(-direct("matching", *pair))) for pair in zip(videos, ids, strict=False)
    ]
    of_windows = [1 / (1 + np.exp(-direct("matching", of, ids[3]))) for of in windows(long)]
    found = model.match([*videos, long], texts)
    np.testing.assert_allclose(found, [*expected, np.mean(of_windows)], atol=TOLERANCE)
    assert np.ptp(found) > 1e-3 and np.ptp(of_windows) > 1e-3


@pytest.mark.long
def test_choices_are_weighed_by_the_matching_head_behind_the_question(model, direct, videos, long):
    choices = ["onion", "carrot with salt", "milk"]
    ids = model.tokenize([f"{QUESTION} {choice}" for choice in choices])
    first = softmax(np.array([direct("matching", videos[0], of) for of in ids]))
    second = softmax(
        np.array([np.mean([direct("matching", w, of) for w in windows(long)]) for of in ids])
    )
    found = model.answer([videos[0], long], [QUESTION, QUESTION], choices)
    for told, expected in zip(found, (first, second), strict=True):
        assert told.text == choices[expected.argmax()]
        assert told.probability == pytest.approx(expected.max(), abs=TOLERANCE)
        for choice, share in zip(choices, expected, strict=True):
            assert told.probabilities[choice] == pytest.approx(share, abs=TOLERANCE)
        assert list(told.probabilities.values()) == sorted(told.probabilities.values())[::-1]
    (own, fewer) = model.answer([videos[0]] * 2, [QUESTION] * 2, [choices, choices[:2]])
    assert own.probabilities == pytest.approx(found[0].probabilities, abs=TOLERANCE)
    assert list(fewer.probabilities) == sorted(choices[:2], key=lambda c: -own.probabilities[c])


def test_open_questions_are_answered_by_the_answer_head(model, direct, videos, long):
    (ids,) = model.tokenize(QUESTION)
    expected = softmax(direct("answers", videos[1], ids))
    told, of_long = model.answer([videos[1], long], [QUESTION] * 2)
    assert told.text == ANSWERS[expected.argmax()]
    np.testing.assert_allclose([told.probabilities[a] for a in ANSWERS], expected, atol=TOLERANCE)
    mean = np.mean([softmax(direct("answers", of, ids)) for of in windows(long)], axis=0)
    np.testing.assert_allclose([of_long.probabilities[a] for a in ANSWERS], mean, atol=TOLERANCE)


MASKED = "now [MASK] the [MASK], slowly"


@pytest.mark.parametrize(
    "which",
    [
        "short",
        pytest.param("long", marks=pytest.mark.long),
        pytest.param("none", marks=pytest.mark.long),
    ],
)
def test_masks_are_filled_by_the_softmax_over_pieces(model, direct, videos, long, which):
    tokenizer = model.tokenizer
    mask = tokenizer.mask_id
    now, the, rest = tokenizer.encode(["now", "the", "the, slowly"])
    assert rest[: len(the)] == the
    ids = [tokenizer.cls_id, *now, mask, *the, mask, *rest[len(the) :], tokenizer.sep_id]
    slots = [place for place, piece in enumerate(ids) if piece == mask]
    given = {"short": videos[0], "long": long, "none": None}[which]
    read = {"short": [videos[0]], "long": windows(long), "none": [np.zeros((0, 24), np.float32)]}
    shares = np.mean(
        [
            [softmax(direct("pieces", of, ids)[slot][: tokenizer.size]) for slot in slots]
            for of in read[which]
        ],
        axis=0,
    )
    (told,) = model.fill_mask(MASKED, given, top_k=4)
    assert len(told) == 2
    for of_mask, expected in zip(told, shares, strict=True):
        words = {
            tokenizer.decode([piece]): expected[piece]
            for piece in range(tokenizer.size)
            if tokenizer.word_starts[piece] and tokenizer.decode([piece])
        }
        best = sorted(words, key=lambda word: -words[word])[:4]
        assert [of.word for of in of_mask] == best
        np.testing.assert_allclose(
            [of.probability for of in of_mask], [words[word] for word in best], atol=TOLERANCE
        )


def test_no_word_that_is_told_is_empty(model):
    tokenizer = model.tokenizer
    pieces = np.flatnonzero(tokenizer.word_starts).tolist()
    assert "" in map(tokenizer.decode, [[piece] for piece in pieces])
    words = {tokenizer.decode([piece]) for piece in pieces} - {""}
    ((told,),) = model.fill_mask("cut the [MASK]", top_k=len(words))
    assert {of.word for of in told} == words
    with pytest.raises(InputError, match=f"1 to {len(words)}, words"):
        model.fill_mask("cut the [MASK]", top_k=len(words) + 1)


def test_several_texts_of_other_lengths_are_filled_alike(model, videos):
    texts = ["[MASK] it", MASKED, "cut the [MASK]"]
    together = model.fill_mask(texts, videos, top_k=3)
    assert [len(of) for of in together] == [1, 2, 1]
    for number, text in enumerate(texts):
        (alone,) = model.fill_mask(text, videos[number], top_k=3)
        for of, other in zip(together[number], alone, strict=True):
            assert [told.word for told in of] == [told.word for told in other]
            np.testing.assert_allclose(
                [told.probability for told in of],
                [told.probability for told in other],
                atol=TOLERANCE,
            )


def test_what_cannot_be_told_is_said(model, videos, tiny_run):
    for message, call in {
        r"text 0 is 'cut it'; expected a \[MASK\]": lambda: model.fill_mask("cut it", videos[0]),
        "pieces; expected 30 at most": lambda: model.fill_mask("cut " * 90 + "[MASK]"),
        "top_k=0; expected 1 to": lambda: model.fill_mask("[MASK] it", top_k=0),
        "3 videos and 1 texts": lambda: model.fill_mask("[MASK] it", videos),
        "2 videos and 3 texts": lambda: model.match(videos[:2], list(bundles.CAPTIONS[:3])),
        "choices='pan'; expected a list": lambda: model.answer(videos[0], QUESTION, "pan"),
        "choices of 1 questions, of 1": lambda: model.answer(videos[0], QUESTION, [[]]),
        "choices of 0 questions, of 1": lambda: model.answer(videos[0], QUESTION, []),
        "repeat each other": lambda: model.answer(videos[0], QUESTION, ["pan", "Pan"]),
    }.items():
        with pytest.raises(InputError, match=message):
            call()
    without = PretrainedModel(bundles.tiny(tiny_run))
    with pytest.raises(InputError, match=r"tiny has no answer head; give choices=\[...\]"):
        without.answer(videos[0], QUESTION)


def test_attention_of_a_text_and_its_clips_is_by_word(model, videos):
    told = model.attention(videos[0], "cut the onion", head=2)
    assert [word.text for word in told.words] == ["[CLS]", "cut", "the", "onion", "[SEP]"]
    assert told.text_reads_video.shape == (5, 3) and told.head == 2
