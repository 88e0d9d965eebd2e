"""Cloze classification with scores whose right answer is known, and with an untrained network."""

import dataclasses

import numpy as np
import pytest

from tests.tasks import conftest
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.tasks import (
    cloze,
    labels,
    other_videos,
    prompts,
    word_presence,
    zero_shot_classification,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.text import templates


class Oracle:
    """Stands in for the network: a candidate scores high where the video shows its label."""

    def __init__(self, runner, split, forms):
        self.tokenizer, self._split = runner.tokenizer, split
        self._labels = {slot: labels.ids_of(split, slot, of) for slot, of in forms.items()}
        self._names = {
            tuple(self.tokenizer.encode([form])[0]): (slot, label)
            for slot, of in forms.items()
            for label, (_, label_forms) in enumerate(of.items())
            for form in label_forms
        }
        self.seen_masks: set[int] = set()
        self.prejudice = 0.0  # for the first label, whatever is seen
        self.contrastive_scale = 1.0
        self._joint_dim = runner.bundle.config.joint_dim

    def text_embeddings(self, texts):
        return np.zeros((len(texts), self._joint_dim), np.float32)  # all sentences alike

    def candidate_scores(
        self, encodings, texts, candidates, *, text_length, table_shape, with_video
    ):
        scores = np.zeros((len(texts), len(candidates)), np.float32)
        for row, text in enumerate(texts):
            assert all(text.ids[slot] == self.tokenizer.mask_id for slot in text.slots)
            self.seen_masks.add(text.ids.count(self.tokenizer.mask_id) - len(text.slots))
            for column, pieces in enumerate(candidates):
                slot, label = self._names[tuple(pieces)]
                right = int(self._labels[slot][text.video_row]) == label
                if len(pieces) == len(text.slots):  # else the score means nothing
                    scores[row, column] = float(right and with_video) + self.prejudice * (
                        label == 0
                    )
                else:
                    scores[row, column] = 9.0
        return scores


def with_runner(context: EvaluationContext, runner) -> EvaluationContext:
    copy = dataclasses.replace(context)
    vars(copy).update(
        runner=runner, encodings=context.encodings, features=context.features, fits=context.fits
    )
    return copy


@pytest.fixture(scope="module")
def oracle(context):
    return Oracle(context.runner, context.split, labels.declared(context.dataset, context.split))


def test_a_network_that_knows_gets_everything_right(context, oracle):
    texts = ["now {verb} the {object}", "{verb} the {object}."]  # short enough for the rows
    result = zero_shot_classification.evaluate(with_runner(context, oracle), template_texts=texts)
    assert result.metrics["verb_top1"] == result.metrics["object_top1"] == 1.0
    assert oracle.seen_masks == {1}  # the other slot is one mask
    # without the video the oracle says nothing: all labels tie
    assert result.baselines["language_prior"]["verb_top1"] == 0.0
    assert len(result.examples) == len(result.expected) == 30
    forms = ["chop", "chopping", "pour", "pouring", "stir", "stirring"]
    assert result.details["candidates"]["verb"] == forms
    assert result.examples[3]["object"]["best"][0] == result.examples[3]["object"]["label"]


def test_figures_follow_from_the_lines_of_the_examples(context):
    result = zero_shot_classification.evaluate(context)
    for slot in ("verb", "object"):
        ranks = np.array([line[slot]["rank"] for line in result.examples])
        assert result.metrics[f"{slot}_top1"] == np.mean(ranks <= 1)
        first = [line[slot]["best"][0] == line[slot]["label"] for line in result.examples]
        assert result.metrics[f"{slot}_top1"] == np.mean(first)
    assert result.templates == [templates.PAPER_TEMPLATE]


def test_prior_is_one_answer_for_all_and_calibration_takes_it_away(context):
    oracle = Oracle(context.runner, context.split, labels.declared(context.dataset, context.split))
    oracle.prejudice = 2.0
    prejudiced = with_runner(context, oracle)
    plain = zero_shot_classification.evaluate(prejudiced)
    calibrated = zero_shot_classification.evaluate(prejudiced, calibration="prior")
    assert plain.metrics["verb_top1"] < 0.8 and calibrated.metrics["verb_top1"] == 1.0
    assert plain.metrics == calibrated.details["variants"]["cloze"]
    assert calibrated.metrics == plain.details["variants"]["cloze_less_prior"]
    # the oracle's sentences are all alike: in the joint space nothing is known
    both = zero_shot_classification.evaluate(prejudiced, scoring="both", calibration="prior")
    assert both.metrics == calibrated.metrics == both.details["variants"]["both_less_prior"]
    assert both.details["variants"]["joint_space"]["verb_top1"] == 0.0  # ties
    for name, figures in both.details["variants"].items():  # each line has the ranks of them all
        by = np.array([line["verb"]["rank_by"][name] for line in both.examples])
        assert np.mean(by <= 1) == figures["verb_top1"]
    counts = np.bincount(labels.ids_of(context.split, "verb", _forms(context, "verb")))
    prior = plain.baselines["language_prior"]["verb_top1"]
    assert round(prior * 30) == counts[0]


def test_joint_space_scores_are_shares_of_the_sentences_of_a_label(context):
    # a scale at which the best sentence does not have it all
    params = context.bundle.variables["params"]
    head = {**params["joint_head"], "log_scale": np.float32(np.log(3.0))}
    variables = {**context.bundle.variables, "params": {**params, "joint_head": head}}
    bundle = dataclasses.replace(context.bundle, variables=variables)
    context = EvaluationContext(bundle, context.dataset, context.split, 0)
    model, template = PretrainedModel(bundle), "{verb} the {object}"
    sentences = [
        f"{verb} the {forms[0]}"  # short enough for the rows
        for verb in sorted(conftest.VERBS)
        for _, forms in sorted(conftest.OBJECTS.items())
    ]
    text = model.encode_text(sentences)
    shares = np.exp(3.0 * context.encodings.video_embeddings @ text.T)
    shares = (shares / shares.sum(axis=1, keepdims=True)).reshape(30, 3, 4)
    result = zero_shot_classification.evaluate(
        context, template_texts=[template], scoring="joint_space"
    )
    for slot, expected in (("verb", shares.sum(axis=2)), ("object", shares.sum(axis=1))):
        for line, share in zip(result.examples, expected, strict=True):
            names = sorted(conftest.VERBS if slot == "verb" else conftest.OBJECTS)
            assert line[slot]["best"] == [names[i] for i in np.argsort(-share)[:5]]
        found = prompts.scores(
            context,
            slot,
            [template],
            labels.declared(context.dataset, context.split),
            context.encodings.video_embeddings,
        )
        np.testing.assert_allclose(np.exp(found), expected, rtol=1e-3)
    assert result.metrics == result.details["variants"]["joint_space"]


def test_of_many_other_labels_some_are_tried_evenly_spread(context, monkeypatch):
    seen = []
    runner = Oracle(context.runner, context.split, labels.declared(context.dataset, context.split))
    monkeypatch.setattr(
        runner, "text_embeddings", lambda texts: seen.extend(texts) or np.zeros((len(texts), 16))
    )
    monkeypatch.setattr(prompts, "MOST_OTHERS", 2)
    prompts.scores(
        with_runner(context, runner),
        "verb",
        ["{verb} {object}"],
        labels.declared(context.dataset, context.split),
        context.encodings.video_embeddings,
    )
    tried = [
        f"{verb} {noun}" for verb in sorted(conftest.VERBS) for noun in ("oil", "spring onion")
    ]
    assert [runner.tokenizer.decode(ids) for ids in seen] == tried


def test_both_is_the_product_of_the_shares(context):
    forms = labels.declared(context.dataset, context.split)
    result = zero_shot_classification.evaluate(context, scoring="both")
    runner = context.runner
    spied = []

    class Spy:
        tokenizer = runner.tokenizer
        contrastive_scale = runner.contrastive_scale
        text_embeddings = staticmethod(runner.text_embeddings)

        @staticmethod
        def candidate_scores(*arguments, **settings):
            scores = runner.candidate_scores(*arguments, **settings)
            if settings["with_video"]:
                spied.append(scores)
            return scores

    zero_shot_classification.evaluate(with_runner(context, Spy()))
    names = sorted(forms["verb"])
    flat = [(form, label) for label, name in enumerate(names) for form in forms["verb"][name]]
    scores = spied[0]  # verbs come first
    shares = np.zeros((30, len(names)))
    counts = sorted({len(runner.tokenizer.encode([form])[0]) for form, _ in flat})
    for column, (form, label) in enumerate(flat):
        block = counts.index(len(runner.tokenizer.encode([form])[0]))  # of as many masks
        shares[:, label] += np.exp(scores[30 * block : 30 * block + 30, column])
    shares /= shares.sum(axis=1, keepdims=True)
    videos = context.encodings.video_embeddings
    shares *= np.exp(prompts.scores(context, "verb", [templates.PAPER_TEMPLATE], forms, videos))
    for line, share in zip(result.examples, shares, strict=True):
        assert line["verb"]["best"] == [names[i] for i in np.argsort(-share)]


def test_the_networks_own_rows_are_of_no_video_and_of_another_one(context):
    """By the lines: each label's place among those that the network told of another video."""
    forms = labels.declared(context.dataset, context.split)
    others = other_videos.of_same_kind(context.split.video[:], ["verb"] * 30, seed=0)
    for scoring in ("cloze", "joint_space", "both"):
        result = zero_shot_classification.evaluate(
            context, template_texts=["{verb} the {object}"], scoring=scoring
        )
        for slot in ("verb", "object"):
            told = [line[slot]["best"] for line in result.examples]  # all labels, in order
            assert {len(of) for of in told} == {len(forms[slot])}
            own = [line[slot]["label"] for line in result.examples]
            for name in ("shuffled_video", "language_prior"):
                ranks = [line["baselines"][name][f"{slot}_rank"] for line in result.examples]
                assert result.baselines[name][f"{slot}_top1"] == np.mean(np.array(ranks) <= 1)
                if name == "language_prior":  # one order for all: a label has one rank
                    assert len(set(zip(own, ranks, strict=True))) == len(set(own))
                    prior = dict(zip(own, ranks, strict=True))
                    continue
                of_others = [told[other] for other in others]
                places = [of.index(label) + 1 for of, label in zip(of_others, own, strict=True)]
                assert ranks == places
        if scoring == "joint_space":  # of the mean of all videos, by the application's encoders
            model, found = PretrainedModel(context.bundle), {}
            mean = context.encodings.video_embeddings.mean(axis=0)
            names = sorted(forms["object"])
            for name in names:
                said = [f"{v} the {forms['object'][name][0]}" for v in
                        (forms["verb"][n][0] for n in sorted(forms["verb"]))]  # fmt: skip
                cosines = model.encode_text(said) @ mean
                found[name] = np.exp(context.runner.contrastive_scale * cosines).sum()
            order = sorted(names, key=lambda name: -found[name])
            assert {name: order.index(name) + 1 for name in prior} == prior


def test_many_examples_of_one_video_leave_the_shuffled_row_out(context):
    split = dataclasses.replace(context.split, video=np.zeros(30, np.int64))
    one_video = with_runner(context, context.runner)
    object.__setattr__(one_video, "split", split)
    result = zero_shot_classification.evaluate(one_video)
    assert "shuffled_video" not in result.baselines and "language_prior" in result.baselines
    assert "no shuffled_video of verbs: too many examples are of one video" in result.notes


def test_words_are_the_expected_presence_of_a_labels_forms(context):
    runner, forms = context.runner, labels.declared(context.dataset, context.split)
    presence = np.random.default_rng(0).normal(0.1, 0.2, (30, runner.tokenizer.size))
    presence = presence.astype(np.float32)  # a squared error does not keep it in 0 to 1
    told = with_runner(context, runner)
    encodings = dataclasses.replace(context.encodings, piece_presence=presence)
    vars(told).update(encodings=encodings)
    result = zero_shot_classification.evaluate(told, scoring="words")
    every = zero_shot_classification.evaluate(told, scoring="all")
    both = zero_shot_classification.evaluate(told, scoring="both")
    for slot in ("verb", "object"):
        names = sorted(forms[slot])
        expected = np.zeros((30, len(names)))
        for label, name in enumerate(names):
            for form in forms[slot][name]:
                (pieces,) = runner.tokenizer.encode([form])
                expected[:, label] += presence[:, pieces].min(axis=1)
        shares = np.maximum(expected, 1e-3)
        for line, share in zip(result.examples, shares, strict=True):
            assert line[slot]["best"][0] == names[share.argmax()]
        candidates = cloze.Candidates.of(forms[slot], runner.tokenizer)
        found = word_presence.scores(candidates, presence)
        np.testing.assert_allclose(
            np.exp(found), shares / shares.sum(axis=1, keepdims=True), rtol=1e-4
        )
    assert len({str(of.metrics) for of in (result, every, both)}) == 3
    assert result.metrics == both.details["variants"]["words"]
    assert every.metrics == result.details["variants"]["all"]
    first = zero_shot_classification.evaluate(told, scoring="words_first")
    texts = zero_shot_classification.templates_of(told, (), ["verb"])["verb"]
    embedded = context.encodings.video_embeddings.astype(np.float32)
    joint = prompts.scores(told, "verb", texts, forms, embedded)
    candidates = cloze.Candidates.of(forms["verb"], runner.tokenizer)
    score = word_presence.scores(candidates, presence) + 0.1 * joint
    names = sorted(forms["verb"])
    for line, of_labels in zip(first.examples, score, strict=True):
        assert line["verb"]["best"][0] == names[of_labels.argmax()]
    assert "; 0.1 times in the joint space" in first.details["answered_by"]


def test_without_the_head_there_are_no_words(context):
    headless = with_runner(context, context.runner)
    encodings = dataclasses.replace(context.encodings, piece_presence=None)
    vars(headless).update(encodings=encodings)
    variants = zero_shot_classification.evaluate(headless).details["variants"]
    assert "cloze" in variants and "words" not in variants
    for scoring in ("words", "towers", "all"):
        with pytest.raises(EvaluationError, match=f"'{scoring}' needs .* bag-of-words head"):
            zero_shot_classification.evaluate(headless, scoring=scoring)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"scoring": "eyes"},
            "'eyes' is none of cloze, joint_space, words, both, towers, words_first, all",
        ),
        ({"calibration": "much"}, "calibration 'much' is none of none, prior"),
        ({"scoring": "joint_space", "calibration": "prior"}, "'joint_space' has no prior"),
        ({"scoring": "words", "calibration": "prior"}, "'words' has no prior"),
    ],
)
def test_ways_to_score_that_there_are_not(context, settings, message):
    with pytest.raises(EvaluationError, match=message):
        zero_shot_classification.evaluate(context, **settings)


def test_supervised_rows_are_there_and_the_linear_one_is_good(context):
    result = zero_shot_classification.evaluate(context)
    assert result.baselines["supervised_ridge"]["verb_top1"] > 0.8
    assert result.baselines["supervised_mlp"]["verb_top1"] > 0.8
    train = labels.ids_of(context.fit_split, "verb", _forms(context, "verb"))
    most = np.bincount(train).argmax()
    test = labels.ids_of(context.split, "verb", _forms(context, "verb"))
    assert result.baselines["majority"]["verb_top1"] == pytest.approx(np.mean(test == most))


def test_a_split_without_labels_is_refused(context, tiny_dataset):
    from videobert_jax.data import index

    dataset = index.open_dataset(tiny_dataset)
    with pytest.raises(ValueError, match="dim: dataset .* has 24"):
        EvaluationContext(context.bundle, dataset, dataset.split("validation"), 0)
    unlabelled = dataclasses.replace(context.split, labels={})
    with pytest.raises(EvaluationError, match="has no labels"):
        zero_shot_classification.evaluate(dataclasses.replace(context, split=unlabelled))


@pytest.mark.long
def test_a_kind_of_label_has_its_own_template_or_baselines_alone(bundle, tmp_path):
    forms = {"verb": conftest.VERBS, "object": conftest.OBJECTS, "size": {"small": [], "large": []}}
    for templates_of, declared in (([], []), (["now [MASK] {size}"], ["now [MASK] {size}"])):
        metadata = {"label_surface_forms": forms, "templates": declared}
        dataset = conftest.write_dataset(tmp_path / str(len(declared)), metadata=metadata)
        context = EvaluationContext(bundle, dataset, dataset.split("test"), 0)
        result = zero_shot_classification.evaluate(context)
        assert result.details["templates_of"]["size"] == templates_of
        assert result.details["templates_of"]["verb"] == [templates.PAPER_TEMPLATE]
        assert ("size_top1" in result.metrics) == bool(declared)
        for name in ("chance", "majority", "supervised_ridge", "supervised_mlp"):
            assert "size_top1" in result.baselines[name]
        assert ("rank" in result.examples[0]["size"]) == bool(declared)
        for name in ("supervised_ridge", "supervised_mlp"):
            ranks = [line["baselines"][name]["verb_rank"] for line in result.examples]
            assert result.baselines[name]["verb_top1"] == np.mean(np.array(ranks) <= 1)


def _forms(context, slot):
    return labels.declared(context.dataset, context.split)[slot]
