"""Questions with and without candidates, beside the same said one example at a time."""

import collections
import re

import jax
import numpy as np
import pytest

from tests.tasks import asked
from videobert_jax.data import index
from videobert_jax.data.reader import ClipReader
from videobert_jax.models.videobert import VideoBert
from videobert_jax.report_page import plots
from videobert_jax.sharding import mesh as meshes
from videobert_jax.tasks import (
    multiple_choice,
    other_videos,
    question_answering,
    questions,
    report,
    token_states,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.encoding import ROWS, ModelRunner
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import classification

ANSWERS = ("chop", "stir", "oil", "soup", "0", "3")  # of those that there are, some
TEXT = 32


@pytest.fixture(scope="module")
def of_questions(tmp_path_factory) -> index.Dataset:
    return asked.write(tmp_path_factory.mktemp("asked") / "asked", videos=28)


@pytest.fixture(scope="module")
def network(bundle):
    return asked.answering(bundle, ANSWERS)


@pytest.fixture(scope="module")
def contexts(network, of_questions):
    """Of the first examples, on one device or on all."""
    one = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    runner = ModelRunner(network, mesh=one)

    def made(limit: int | None, devices: int) -> EvaluationContext:
        found = EvaluationContext(network, of_questions, of_questions.split("test"), 0, limit=limit)
        if devices == 1:
            vars(found).update(runner=runner)
        return found

    return made


@pytest.fixture(scope="module")
def apart(network, of_questions):
    """(logits over answers, matching logit, cosine times scale) of a text with the clips of an
    example, each computed by itself."""
    model, tokenizer = VideoBert(network.config), ModelRunner(network).tokenizer
    split, read = of_questions.split("test"), {}

    @jax.jit
    def judged(variables, ids, segments, features):
        clips = jax.numpy.ones(features.shape[:2], jax.numpy.int32)
        places = jax.numpy.arange(TEXT)[None], jax.numpy.arange(features.shape[1])[None]
        apply = lambda method, *inputs: model.apply(variables, *inputs, method=method)  # noqa: E731
        text = apply("encode_text", ids, segments, places[0])
        video = apply("encode_video", features, clips, places[1], clips == 0)
        fused = apply("fuse", text, segments, video, clips)
        pooled = apply("pool", fused[0], segments, fused[1], clips, 1)
        cosine = apply("text_embeddings", text, segments, 1) * apply(
            "video_embeddings", video, clips, 1
        )
        return (
            apply("answer_logits", pooled)[0, 0],
            apply("matching_logits", pooled)[0, 0],
            cosine.sum() * apply("contrastive_scale"),
        )

    def of(text: str, example: int):
        if (text, example) not in read:
            pieces = [tokenizer.cls_id, *tokenizer.encode([text])[0], tokenizer.sep_id]
            ids, segments = np.zeros((2, 1, TEXT), np.int32)
            ids[0, : len(pieces)], segments[0, : len(pieces)] = pieces, 1
            features = clips_of(split, example)[None]
            read[text, example] = jax.device_get(judged(network.variables, ids, segments, features))
        return read[text, example]

    return of


def clips_of(split: index.Split, example: int) -> np.ndarray:
    count = int(split.clip_count[example])
    out = np.zeros((count, split.contract.dim), np.float16)
    numbers = (0, split.video[example], split.first_clip[example], count)
    ClipReader(split, 1).read_into(out, *(np.array([number], np.int64) for number in numbers))
    return out


def told(dataset: index.Dataset) -> list[dict]:
    """The questions as the annotations have them, in the order of the examples."""
    return [row for entry in dataset.annotations("test") for row in entry["questions"]]


@pytest.mark.parametrize(
    ("count", "devices"),
    [(1, 1), pytest.param(3 * ROWS + 1, 1, marks=pytest.mark.long), (3 * ROWS + 1, 8)],
)
def test_open_questions_are_answered_as_one_by_one(contexts, apart, of_questions, count, devices):
    context = contexts(count, devices)
    result = question_answering.evaluate(context)
    right = []
    for example, (row, line) in enumerate(zip(told(of_questions), result.examples, strict=False)):
        logits = apart(row["question"], example)[0][: len(ANSWERS)]
        answered = ANSWERS[int(np.argmax(logits))]
        right.append(float(answered == row["answer"]))
        assert (line["answered"], line["right"]) == (answered, right[-1])
        assert (line["question"], line["answer"]) == (row["question"], row["answer"])
    assert len(right) == len(result.examples) == count
    assert result.metrics["accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    kinds = [row["kind"] for row in told(of_questions)][:count]
    for kind in set(kinds) if count > 1 else ():
        of_kind = [value for value, name in zip(right, kinds, strict=True) if name == kind]
        assert result.metrics[f"accuracy_{kind}"] == pytest.approx(np.mean(of_kind), abs=1e-6)
    outside = np.mean([row["answer"] not in ANSWERS for row in told(of_questions)[:count]])
    assert result.details["outside_answers"] == pytest.approx(outside)
    record = report.record(context, result)
    assert (
        f"{100 * outside:.1f} % of the questions have an answer that is not" in record["notes"][0]
    )
    if count > 1:
        assert 0 < np.mean(right) < 1 and 0 < outside < 1
        (plot,) = plots.by_group(record, result.examples)
        assert plot.title == "By kind"
        for kind in set(kinds):
            share = report.figure("accuracy", result.metrics[f"accuracy_{kind}"])
            said = re.sub("<.*?>", "", plot.drawing)
            assert f"{kind} ({kinds.count(kind)})accuracy{share}" in said


@pytest.mark.parametrize("chooser", multiple_choice.CHOOSERS)
def test_candidates_are_chosen_as_one_by_one(contexts, apart, of_questions, monkeypatch, chooser):
    context = contexts(3 * ROWS + 1, 1)
    calls, embed = [], ModelRunner.text_embeddings
    monkeypatch.setattr(
        ModelRunner, "text_embeddings", lambda *given: calls.append(0) or embed(*given)
    )
    result = multiple_choice.evaluate(context, choose_by=chooser)
    assert len(calls) == 1  # for all choosers and baselines
    rows = dict(enumerate(told(of_questions)[: 3 * ROWS + 1]))
    asked_about = {example: row for example, row in rows.items() if "candidates" in row}
    assert [line["example_id"] for line in result.examples] == list(asked_about)
    right = []
    for line, (example, row) in zip(result.examples, asked_about.items(), strict=True):
        judged = [apart(f"{row['question']} {c}", example)[1:] for c in row["candidates"]]
        shares = [np.exp(s) / np.exp(s).sum() for s in np.array(judged, np.float64).T]
        matching, towers = shares
        scores = {"towers": towers, "matching": matching, "both": towers * matching}[chooser]
        right.append(float(np.argmax(scores) == row["correct"]))
        assert line["chosen"] == row["candidates"][int(np.argmax(scores))]
        assert line["right"] == right[-1]
    assert result.metrics["accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    assert 0 < np.mean(right) < 1
    assert result.baselines["chance"]["accuracy"] == pytest.approx(1 / 3)
    assert result.details["variants"][chooser] == result.metrics
    assert plots.by_group(report.record(context, result), result.examples) == []  # of one kind


def test_baselines_know_what_they_are_said_to(contexts, of_questions):
    """The majorities by plain counts; the clips tell verb and object, so that a ridge on them must
    beat one on the question alone, which must beat whoever reads none of it."""
    result = question_answering.evaluate(contexts(None, 8))
    rows = [r for entry in of_questions.annotations("train") for r in entry["questions"]]
    counts = collections.Counter(row["answer"] for row in rows)
    most = sorted(counts, key=lambda answer: (-counts[answer], answer))[: len(ANSWERS)]
    of_kind = collections.defaultdict(collections.Counter)
    for row in rows:
        if row["answer"] in most:
            of_kind[row["kind"]][row["answer"]] += 1
    asked_about = told(of_questions)
    majority = np.mean([row["answer"] == most[0] for row in asked_about])
    found = {name: of["accuracy"] for name, of in result.baselines.items()}
    assert found["majority"] == pytest.approx(majority)
    by_kind = [
        row["answer"] == max(of_kind[row["kind"]].items(), key=lambda item: item[1])[0]
        for row in asked_about
        if of_kind[row["kind"]]
    ]
    assert found["majority_of_kind"] == pytest.approx(sum(by_kind) / len(asked_about), abs=0.02)
    assert found["supervised_ridge"] > found["question_ridge"] > found["majority"]
    assert {"language_prior", "shuffled_video", "chance"} <= set(found)
    choice = multiple_choice.evaluate(contexts(None, 8), choose_by="towers")
    assert choice.baselines["supervised_ridge"]["accuracy"] > 0.6 > 1 / 3


def test_ties_share_the_point():
    absent = -np.inf
    scores = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [0.0, 3.0, absent], [0.0, 1.0, 2.0]])
    found = classification.right_shares(scores, np.array([0, 2, 1, -1]))
    np.testing.assert_array_equal(found, [1 / 2, 1 / 3, 1, 0])
    with pytest.raises(EvaluationError, match="1 of 2 scores are NaN"):
        classification.right_shares(np.array([[np.nan, 0.0]]), np.array([0]))


def test_other_videos_are_other_and_of_the_same_kind():
    draws = np.random.default_rng(0)
    videos, kinds = draws.integers(0, 5, 60), [f"kind {n}" for n in draws.integers(0, 2, 60)]
    found = other_videos.of_same_kind(videos, kinds, seed=3)
    assert sorted(found.tolist()) == list(range(60))
    assert (videos[found] != videos).all()
    assert [kinds[place] for place in found] == kinds
    assert other_videos.of_same_kind(np.zeros(3, int), ["a"] * 3, seed=0) is None


def test_what_cannot_be_asked_is_named(bundle, context, of_questions, network, tmp_path):
    test = of_questions.split("test")
    headless = EvaluationContext(bundle, of_questions, test, 0)
    with pytest.raises(EvaluationError, match=r"tiny has none \(model.answers=0\); evaluate one"):
        question_answering.evaluate(headless)
    with pytest.raises(EvaluationError, match="choose_by 'luck' is none of towers, matching, both"):
        multiple_choice.evaluate(headless, choose_by="luck")
    with pytest.raises(EvaluationError, match="'test' has no questions .*kitchen_qa"):
        multiple_choice.evaluate(context, choose_by="both")

    def changed(name, change):
        made = asked.write(tmp_path / name, videos=2, change=change)
        return EvaluationContext(network, made, made.split("test"), 0)

    with pytest.raises(EvaluationError, match="7 examples and 6 questions about its videos"):
        question_answering.evaluate(changed("fewer", lambda rows: rows.pop()))
    with pytest.raises(EvaluationError, match="example 0 begins at 0.00 s, its question .* 5.0 s"):
        question_answering.evaluate(changed("late", lambda rows: rows[0].update(start=5.0)))
    with pytest.raises(EvaluationError, match="example 0 is 'now the .*, its question 'who'"):
        question_answering.evaluate(changed("other", lambda rows: rows[0].update(question="who")))
    damaged = changed("damaged", lambda rows: rows[0].pop("answer"))
    with pytest.raises(EvaluationError, match="the question of example 0 has no answer"):
        question_answering.evaluate(damaged)
    with pytest.raises(EvaluationError, match="has no answer"):  # not: there are no questions
        questions.unfit(damaged.dataset, damaged.split, network, ())
    repeated = {"candidates": ["stir", "Stir", "chop"]}
    with pytest.raises(EvaluationError, match="repeat each other, as the network reads them"):
        multiple_choice.evaluate(changed("same", lambda r: r[0].update(repeated)), choose_by="both")
    long = {"candidates": [f"{'now ' * 40}{verb}" for verb in asked.VERBS]}
    with pytest.raises(EvaluationError, match="same in their first 32 pieces.*data.text_length"):
        multiple_choice.evaluate(changed("long", lambda r: r[0].update(long)), choose_by="both")

    def without(rows):
        for row in rows:
            row.pop("candidates", None)

    with pytest.raises(EvaluationError, match="no example with candidates to choose from"):
        multiple_choice.evaluate(changed("open", without), choose_by="both")
    tasks = ("retrieval", "question_answering", "multiple_choice")
    assert questions.unfit(of_questions, test, network, tasks) == {
        "retrieval": "the examples of split 'test' are questions"
    }
    headless = questions.unfit(of_questions, test, bundle, tasks)
    assert headless["question_answering"] == "the network has no answer head"
    assert set(questions.unfit(context.dataset, context.split, network, tasks)) == set(tasks[1:])


def test_states_that_are_made_again_give_the_same(contexts, monkeypatch):
    expected = contexts(97, 1)
    kept = (
        question_answering.evaluate(expected),
        multiple_choice.evaluate(expected, choose_by="both"),
    )
    monkeypatch.setattr(token_states, "KEPT_BYTES", 0)
    monkeypatch.setattr(token_states, "GROUP_BYTES", 1 << 16)  # several groups
    again = contexts(97, 1)
    assert isinstance(again.encodings.video, token_states.TokenStates)
    made = question_answering.evaluate(again), multiple_choice.evaluate(again, choose_by="both")
    for one, other in zip(kept, made, strict=True):
        assert [line["right"] for line in one.examples] == [
            line["right"] for line in other.examples
        ]
        assert one.baselines["language_prior"] == other.baselines["language_prior"]
        assert one.baselines["shuffled_video"] == other.baselines["shuffled_video"]
