"""LXMERT on a few videos of the embedded corpus: its runs and every row, beside `LxmertModel`
itself asked one example at a time, without padding."""

import dataclasses
import math
import pathlib

import numpy as np
import pytest

pytest.importorskip("torch", reason='needs torch: pip install "videobert-jax[parity]"')
pytest.importorskip(
    "transformers", reason='needs transformers: pip install "videobert-jax[parity]"'
)

import torch

from benchmarks import kitchen_runs, lxmert_column, lxmert_kitchen, lxmert_runs, lxmert_tasks
from benchmarks.lxmert_network import Network
from tests.benchmarks.conftest import TEST, with_ends
from videobert_jax.data import index
from videobert_jax.tasks import questions, step_localization, whole_videos
from videobert_jax.tasks.context import PredictionContext
from videobert_jax.text.templates import Blank

pytestmark = pytest.mark.long  # it trains every stage


@pytest.fixture(scope="module")
def runs(column) -> dict[str, pathlib.Path]:
    """Stage -> its run of seed 0, trained and measured."""
    return column.run_seed(0)


@pytest.fixture(scope="module")
def networks(runs, corpora):
    """Trained networks, as Hugging Face gives them."""
    return {stage: lxmert_runs.load(run, corpora[stage], stage) for stage, run in runs.items()}


def alone(corpus: lxmert_kitchen.Corpus, pieces: list[int], clips: np.ndarray) -> dict:
    """What LXMERT is given of one text and its clips `[v, c]`."""
    count, longest = len(clips), corpus.run.model.video.max_length
    statistics = corpus.dataset.statistics
    assert statistics is not None
    boxes = [[i / longest, (i + 1) / longest, i / count, (i + 1) / count] for i in range(count)]
    features = (clips.astype(np.float64) - statistics.mean) / statistics.scale
    return {
        "input_ids": torch.tensor([pieces]),
        "visual_feats": torch.tensor(features, dtype=torch.float32)[None],
        "visual_pos": torch.tensor([boxes], dtype=torch.float32),
        "attention_mask": torch.ones(1, len(pieces)),
        "visual_attention_mask": torch.ones(1, count),
    }


def clips_of(shipped, split: index.Split, example: int) -> np.ndarray:
    """Clips of an example, from what ships."""
    name = split.videos[int(split.video[example])]
    (video,) = [of for of in shipped.videos if of.name == name]
    first = int(split.first_clip[example])
    return video.features[first : first + int(split.clip_count[example])]


def odds(corpus, network, text: str, clips: np.ndarray) -> float:
    """That a text and clips belong together, by the network's own forward pass."""
    with torch.inference_mode():
        logits = network(**alone(corpus, with_ends(corpus, text), clips)).cross_relationship_score
    return float(logits[0, 1] - logits[0, 0])


def rank(scores: list[float], right: int) -> float:
    higher = sum(one > scores[right] for one in scores)
    return 1 + higher + sum(one == scores[right] for one in scores) / 2 - 0.5


def test_a_stopped_run_goes_on_to_the_same_weights(corpora, runs, tmp_path):
    corpus, rate = corpora["qa"], 1e-3
    begins = runs["pretrained"]
    lxmert_runs.train(tmp_path / "whole", corpus, "qa", rate, begins)
    lxmert_runs.train(tmp_path / "parts", corpus, "qa", rate, begins, most=3)
    assert not lxmert_runs.weights_file(tmp_path / "parts").is_file()
    lxmert_runs.train(tmp_path / "parts", corpus, "qa", rate, begins)
    whole, parts = (
        torch.load(tmp_path / name / lxmert_runs.WEIGHTS, weights_only=True)
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        assert torch.equal(values, parts[name]), name
    other = torch.load(lxmert_runs.weights_file(begins), weights_only=True)
    moved = [k for k, v in whole.items() if k in other and not torch.equal(v, other[k])]
    assert "lxmert.encoder.visn_fc.visn_fc.weight" in moved


def test_fine_tuning_begins_with_the_pretrained_weights(corpora, runs, tmp_path):
    begins = torch.load(lxmert_runs.weights_file(runs["pretrained"]), weights_only=True)
    for stage in ("qa", "segmentation"):
        training = lxmert_runs._Training(
            tmp_path, corpora[stage], lxmert_runs.OBJECTIVES[stage], 1e-3, runs["pretrained"]
        )
        for name, values in training._network.lxmert.state_dict().items():
            assert torch.equal(values, begins[f"lxmert.{name}"])
    training = lxmert_runs._Training(
        tmp_path,
        corpora["localization"],
        lxmert_runs.OBJECTIVES["localization"],
        1e-3,
        runs["pretrained"],
    )
    for name, values in training._network.state_dict().items():  # and with its matching head
        assert torch.equal(values, begins[name])


def test_losses_fall(corpora, tmp_path):
    """That of one block, before and behind 20 steps."""
    for stage, corpus in corpora.items():
        long = dataclasses.replace(
            corpus.run, training=dataclasses.replace(corpus.run.training, num_steps=20)
        )
        corpus = dataclasses.replace(corpus, run=long)
        objective = lxmert_runs.OBJECTIVES[stage]
        batch = lxmert_runs.tensors(objective.rows(corpus, 0))
        torch.manual_seed(0)
        with torch.no_grad():
            before = float(objective.loss(objective.build(corpus).eval(), batch))
        lxmert_runs.train(tmp_path / stage, corpus, stage, 3e-3)
        with torch.no_grad():
            behind = float(objective.loss(lxmert_runs.load(tmp_path / stage, corpus, stage), batch))
        assert behind < 0.95 * before, stage


def test_the_best_of_the_trials_is_taken_and_nothing_is_run_again(column, runs, monkeypatch):
    for stage, of in lxmert_column.STAGES.items():
        choice = column.describe({stage: [runs[stage]]})[stage]
        figures = []
        for trial, factor in zip(choice["trials"], lxmert_column.TRIALS, strict=True):
            rate = factor * column._corpus(stage, 0).run.optimizer.learning_rate
            assert trial["learning_rate"] == pytest.approx(rate)
            run = column.workdir / f"{stage}-0-lr{rate:.3g}"
            records = {
                task: kitchen_runs.record(run, task, "validation") for task in of.tasks_tuned
            }
            assert all(one["dataset"]["split"] == "validation" for one in records.values())
            means = [records[task]["metrics"][figure] for task, figure in of.chosen_by]
            assert trial["validation"] == pytest.approx(np.mean(means))
            figures.append((trial["validation"], run))
        assert {run: figure for figure, run in figures}[runs[stage]] == max(figures)[0]
        assert len(choice["runs"][0]["sha256"]) == 64
    monkeypatch.setattr(lxmert_runs, "train", None)
    monkeypatch.setattr(lxmert_tasks, "measure", None)
    assert column.run_seed(0) == runs


def test_every_row_is_of_all_examples_of_the_test(runs, data):
    size = {name: len(index.open_dataset(data / name).split(TEST)) for name in ("kitchen",)}
    for stage, of in lxmert_column.STAGES.items():
        for task in of.tasks:
            record = kitchen_runs.record(runs[stage], task, TEST)
            assert record["setting"] == "predictions"
            assert record["predictions"]["system"] == "LxmertModel"
            assert record["intervals"]
            if task in ("zero_shot_classification", "linear_probe", "retrieval"):
                assert record["dataset"]["num_evaluated"] == size["kitchen"]


def test_retrieval_is_that_of_pairs_read_one_at_a_time(shipped, corpora, networks, runs):
    corpus, network = corpora["pretrained"], networks["pretrained"]
    split = corpus.dataset.split(TEST)
    texts, clips = split.texts(range(len(split))), range(len(split))
    scores = [
        [odds(corpus, network, text, clips_of(shipped, split, one)) for one in clips]
        for text in texts
    ]
    ranks = [rank(row, i) for i, row in enumerate(scores)]
    back = [rank(list(row), i) for i, row in enumerate(zip(*scores, strict=True))]
    lines = kitchen_runs.lines(runs["pretrained"], "retrieval", TEST)
    metrics = kitchen_runs.record(runs["pretrained"], "retrieval", TEST)["metrics"]
    # figures alone say little of a network that tells texts and clips by themselves
    for name, of in (("text_to_video", ranks), ("video_to_text", back)):
        assert [line[f"{name}_rank"] for line in lines] == of
        for at in (1, 5):
            share = sum(one <= at for one in of) / len(of)
            assert metrics[f"{name}_R{at}"] == pytest.approx(share, abs=1e-9)


def test_words_are_those_of_masks_filled_one_example_at_a_time(shipped, corpora, networks, runs):
    corpus, network = corpora["pretrained"], networks["pretrained"]
    split, special = corpus.dataset.split(TEST), corpus.tokenizer
    forms = corpus.dataset.metadata["label_surface_forms"]["verb"]
    sentence = "now let me show you how to {verb} the [MASK]".split()
    names = sorted(forms)
    lines = kitchen_runs.lines(runs["pretrained"], "zero_shot_classification", TEST)
    for line in lines:
        example, scores = line["example_id"], []
        for name in names:
            total = -math.inf
            for form in forms[name]:
                (pieces,) = special.encode([form])
                (before,) = special.encode([" ".join(sentence[:-3])])
                (the,) = special.encode(["the"])
                ids = [
                    *[special.cls_id, *before],
                    *[special.mask_id] * len(pieces),
                    *[*the, special.mask_id, special.sep_id],
                ]
                given = alone(corpus, ids, clips_of(shipped, split, example))
                with torch.inference_mode():
                    logs = network(**given).prediction_logits[0].double().log_softmax(dim=-1)
                each = [float(logs[1 + len(before) + i, p]) for i, p in enumerate(pieces)]
                total = np.logaddexp(total, np.mean(each))
            scores.append(total)
        labels = split.labels["verb"]
        right = names.index(labels.names[int(labels.ids[example])])
        assert line["verb"]["rank"] == rank(scores, right)


def test_choices_and_answers_are_those_of_questions_asked_alone(
    shipped, corpora, networks, runs, data
):
    asked = index.open_dataset(data / "kitchen_qa")
    split = asked.split(TEST)
    of_split = questions.of_split(asked, split)
    lines = kitchen_runs.lines(runs["pretrained"], "multiple_choice", TEST)
    assert 0 < sum(line["right"] for line in lines) < len(lines)
    for line in lines:
        of, clips = of_split[line["example_id"]], clips_of(shipped, split, line["example_id"])
        scores = [
            odds(corpora["pretrained"], networks["pretrained"], f"{of.text} {said}", clips)
            for said in of.candidates
        ]
        assert line["right"] == float(np.argmax(scores) == of.correct)
    corpus, network = corpora["qa"], networks["qa"]
    lines = kitchen_runs.lines(runs["qa"], "question_answering", TEST)
    assert len(lines) == len(split) and sum(line["right"] for line in lines) > 0
    for line in lines:
        of, clips = of_split[line["example_id"]], clips_of(shipped, split, line["example_id"])
        with torch.inference_mode():
            given = alone(corpus, with_ends(corpus, of.text), clips)
            told = int(network(**given).question_answering_score.argmax())
        assert line["right"] == float(corpus.lists.answers[told] == of.answer)


def test_seconds_are_told_by_clips_of_whole_videos(shipped, corpora, networks, runs):
    corpus, network = corpora["segmentation"], networks["segmentation"]
    split, names = corpus.dataset.split(TEST), corpus.lists.clip_labels
    labels, stride = split.labels["verb"], corpus.dataset.contract.stride_seconds
    lines = kitchen_runs.lines(runs["segmentation"], "action_segmentation", TEST)
    assert [line["video"] for line in lines] == split.videos
    for number, line in enumerate(lines):
        (video,) = [of for of in shipped.videos if of.name == line["video"]]
        with torch.inference_mode():
            states = network["lxmert"](**alone(corpus, corpus.no_text, video.features))
            told = network["head"](states.vision_output)[0].argmax(dim=-1).tolist()
        right = 0
        for second in range(line["seconds"]):
            middle = second + 0.5
            inside = [
                e
                for e in np.flatnonzero(split.video == number).tolist()
                if split.start[e] <= middle < split.end[e]
            ]
            last = max(inside, key=lambda e: split.start[e], default=None)
            true = "" if last is None else labels.names[int(labels.ids[last])]
            frames = corpus.dataset.contract.frames_per_clip / corpus.dataset.contract.fps
            centres = stride * np.arange(len(video.features)) + frames / 2
            clip = int(np.abs(centres - middle).argmin())
            right += (*names, "")[told[clip]] == true
        assert line["accuracy"] == pytest.approx(right / line["seconds"])


def test_pairs_are_what_the_whole_network_says(corpora, networks):
    """Padded, with texts and clips read apart, several at a time."""
    corpus, whole = corpora["pretrained"], networks["pretrained"]
    split = corpus.dataset.split(TEST)
    network, ids = Network(corpus, whole), np.arange(6)
    features, shown = corpus.read(split, ids)
    texts = corpus.sentences(split.texts(ids.tolist()))
    read, clips = network.texts(texts), network.clips(features, shown)
    pairs = np.array([0, 3, 5, 1]), np.array([2, 2, 0, 4])
    found = network.matching(read, clips, *pairs)
    for value, text, row in zip(found, *pairs, strict=True):
        with torch.inference_mode():
            out = whole(**alone(corpus, texts[text], features[row][shown[row]]))
        expected = out.cross_relationship_score[0, 1] - out.cross_relationship_score[0, 0]
        assert value == pytest.approx(float(expected), abs=1e-5)
    blank = Blank((7, 8), (9,))
    scores = lxmert_tasks.cloze_scores(corpus, network, blank, [[5], [5, 6]], clips, ids)
    assert scores.shape == (6, 2) and (scores < 0).all()


@pytest.mark.parametrize("stage", ["pretrained", "localization"])
def test_steps_are_scored_by_single_clips(shipped, corpora, networks, monkeypatch, stage):
    corpus, whole = corpora[stage], networks[stage]
    split, given = corpus.dataset.split(TEST), []
    monkeypatch.setattr(
        step_localization, "evaluate_scores", lambda _, scorer_of, **__: given.append(scorer_of)
    )
    context = PredictionContext({}, corpus.dataset, split, 0)
    lxmert_tasks.locate(context, corpus, Network(corpus, whole))
    texts = split.texts(range(3))
    (clips,) = whole_videos.read(split, [0, 1], 1)
    (video,) = [of for of in shipped.videos if of.name == split.videos[1]]
    first, steps = int(clips.starts[1]), np.array([2, 0])
    scores = given[0](texts)(clips)(slice(first + 2, first + 5), steps)
    for row, clip in enumerate(range(2, 5)):
        for column, step in enumerate(steps.tolist()):
            expected = odds(corpus, whole, texts[step], video.features[clip : clip + 1])
            assert scores[row, column] == pytest.approx(expected, abs=1e-5)
