"""Questions to the heads over the cross-modal encoder: does it match, what is hidden, which answer.

Of videos in several windows, what is told is the mean over the windows, as said at each function.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from videobert_jax.inference import inputs
from videobert_jax.inference.inputs import InputError, Side, Texts, Videos
from videobert_jax.inference.network import Network, require_paired
from videobert_jax.inference.windows import Cut
from videobert_jax.text import templates

_NO_MASK = "a [MASK] that stands where a word would, as in 'now let me show you how to [MASK] it'"


class Told(NamedTuple):
    """A word that may stand at a [MASK], and its probability."""

    word: str
    probability: float


class Answer(NamedTuple):
    """The likeliest answer, `text`, its probability, and `probabilities`, that of every answer, the
    likeliest first."""

    text: str
    probability: float
    probabilities: dict[str, float]


def match(network: Network, video: Videos, text: Texts, truncate: bool) -> Float[np.ndarray, " b"]:
    """Probability that each pair belongs together; the mean over windows."""
    cut, texts = network.paired(video, text, truncate=truncate)
    (logits,) = network.run("matching_logits", cut.windows, texts)
    return cut.means(1 / (1 + np.exp(-logits)))


def fill_mask(
    network: Network, text: Texts, video: Videos | None, top_k: int
) -> list[list[list[Told]]]:
    """Of each text, of each [MASK]: the top_k likeliest; probabilities are means over windows."""
    texts = inputs.sentences(text)
    pieces, slots = _masked(network, texts)
    cut = Cut.without_video(len(texts), network.contract.dim)
    if video is not None:
        cut = network.cut(video)
        require_paired(len(cut.told_in), len(texts))
    (logits,) = network.run(
        "piece_logits", cut.windows, pieces.of(cut.owners), slots.of(cut.owners)
    )
    tokenizer = network.tokenizer
    shares = cut.means(_softmax(logits[..., : tokenizer.size]))
    words = np.flatnonzero(tokenizer.word_starts)
    words = words[words >= tokenizer.first_regular_id]
    # A piece may be the mark of a word's begin alone, behind which single bytes go on.
    words = words[[bool(tokenizer.surfaces[word]) for word in words]]
    if not 1 <= top_k <= len(words):
        raise InputError(f"top_k={top_k}; expected 1 to {len(words)}, words of the vocabulary.")
    found = []
    for row, places in enumerate(slots.inputs):
        of_words = shares[row, : len(places), words].T
        best = words[np.argsort(-of_words, axis=1, kind="stable")[:, :top_k]]
        found.append(
            [
                [Told(tokenizer.decode([piece]), float(of[piece])) for piece in chosen.tolist()]
                for chosen, of in zip(best, shares[row], strict=False)
            ]
        )
    return found


def _masked(network: Network, texts: Sequence[str]) -> tuple[Side, Side]:
    """(piece ids, places of the masks) of each text."""
    tokenizer, longest = network.tokenizer, network.maximum_pieces
    ids, slots = [], []
    for number, text in enumerate(texts):
        try:
            found = templates.masked(text, tokenizer)
        except templates.TemplateError as error:
            raise InputError(f"text {number} is {text!r}; expected {_NO_MASK}.") from error
        if len(found) > longest:
            raise InputError(
                f"text {number} has {len(found) - 2} pieces; expected {longest - 2} at most, as "
                "many as in training: shorten it."
            )
        inputs.notice_unknown(tokenizer, number, text, found[1:-1])
        ids.append(np.array(found, np.int32))
        slots.append(np.flatnonzero(ids[-1] == tokenizer.mask_id).astype(np.int32))
    return Side(ids, longest), Side(slots, longest)


def answer(
    network: Network,
    video: Videos,
    question: Texts,
    choices: Sequence[str] | Sequence[Sequence[str]] | None,
    truncate: bool,
) -> list[Answer]:
    """Of each pair of video and question; of choices by the matching head, whose logits are means
    over windows, else by the answer head, whose probabilities are."""
    questions = inputs.sentences(question)
    if choices is not None:
        return _choose(network, video, questions, _per_question(questions, choices), truncate)
    answers = network.bundle.answers
    if not answers:
        raise InputError(
            f"{network.bundle.name} has no answer head; give choices=[...] to choose from, or use "
            "a model that was trained with objectives.answering."
        )
    cut, texts = network.paired(video, questions, truncate=truncate)
    (logits,) = network.run("answer_logits", cut.windows, texts)
    return [_answer(answers, shares) for shares in cut.means(_softmax(logits))]


def _choose(
    network: Network,
    video: Videos,
    questions: Sequence[str],
    choices: Sequence[Sequence[str]],
    truncate: bool,
) -> list[Answer]:
    videos = network.features(video)
    require_paired(len(videos), len(questions))
    asked = [number for number, of in enumerate(choices) for _ in of]
    read = [
        f"{asks} {choice}".strip()
        for asks, of in zip(questions, choices, strict=True)
        for choice in of
    ]
    texts = network.texts(read, truncate=truncate)
    cut = Cut.of([videos[number] for number in asked], network.maximum_clips)
    (logits,) = network.run("matching_logits", cut.windows, texts.of(cut.owners))
    logits, found, first = cut.means(logits), [], 0
    for number, of in enumerate(choices):
        told = slice(first, first + len(of))
        if len({ids.tobytes() for ids in texts.inputs[told]}) < len(of):
            raise InputError(
                f"the choices {list(of)} of question {number} repeat each other as the model reads "
                f"them, behind the question and in {network.maximum_pieces - 2} pieces; give "
                "different ones, or a shorter question."
            )
        found.append(_answer(of, _softmax(logits[told])))
        first += len(of)
    return found


def _per_question(
    questions: Sequence[str], choices: Sequence[str] | Sequence[Sequence[str]]
) -> list[list[str]]:
    """The choices of each question. Raises InputError unless there are some."""
    if isinstance(choices, str):
        raise InputError(f"choices={choices!r}; expected a list of them.")
    if choices and all(isinstance(choice, str) for choice in choices):
        found = [[str(choice) for choice in choices]] * len(questions)
    else:
        found = [[str(choice) for choice in of] for of in choices]
    if len(found) != len(questions) or not all(found):
        raise InputError(
            f"choices of {len(found)} questions, of {len(questions)}; expected a list for all of "
            "them, or one for each, none of them empty."
        )
    return found


def _answer(texts: Sequence[str], shares: Float[np.ndarray, " a"]) -> Answer:
    order: list[int] = np.argsort(-shares, kind="stable").tolist()
    told = {texts[place]: float(shares[place]) for place in order}
    return Answer(texts[order[0]], float(shares[order[0]]), told)


def _softmax(logits: Float[np.ndarray, "... w"]) -> Float[np.ndarray, "... w"]:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)
