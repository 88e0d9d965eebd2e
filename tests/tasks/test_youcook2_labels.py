"""VideoBERT's zero-shot rows on YouCook II: its lists, labels of its steps, and what is right of a
step with several, on a made annotation and on the real one, with made features."""

import copy
import csv
import hashlib
import json
import pathlib
import re

import numpy as np
import pytest

from tests.tasks.conftest import CONTRACT, DIM
from videobert_jax.cli import main
from videobert_jax.data import index
from videobert_jax.data.datasets import annotated, youcook2
from videobert_jax.data.importers import FeatureSource
from videobert_jax.tasks import (
    fill_mask,
    labels,
    linear_probe,
    retrieval,
    zero_shot_classification,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.text import label_lists

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "youcook2"
REAL = SHARED / "youcookii_annotations_trainval.json"
real = pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there")
STEPS = {  # of two videos each
    "training": ["chop the onion", "add oil to the pan and stir", "wait", "fry the eggs in oil"],
    "validation": [
        "add onions and salt to the pan, stir and fry",
        "wait an hour",
        "chop a slice of bread",
        "place it in the oven",
    ],
}


ALL_LABELLED = [  # each shares verbs and objects with some that do not share any
    "add onions and salt to the pan, stir and fry",
    "stir the onion",
    "fry the salt in the pan",
    "chop and place the onion",
    "place the bread in the oven",
]


def made_annotation(folder: pathlib.Path, every: dict[str, list[str]] = STEPS) -> pathlib.Path:
    database = {
        f"{subset[:5]}_{number:05d}": {
            "duration": 40.0,
            "subset": subset,
            "recipe_type": "113",
            "annotations": [
                {"id": i, "segment": [8 * i, 8 * i + 7], "sentence": text}
                for i, text in enumerate(steps)
            ],
        }
        for subset, steps in every.items()
        for number in range(2)
    }
    path = folder / "youcookii.json"
    path.write_text(json.dumps({"database": database}))
    return path


def write(annotations: pathlib.Path, output: pathlib.Path) -> index.Dataset:
    """The dataset with drawn features, a clip every four seconds."""
    corpus = youcook2.read(annotations)
    random = np.random.default_rng(0)
    videos = {
        video.name: random.normal(
            size=(1 + int(max((s.end for s in video.segments), default=0) // 4), DIM)
        ).astype(np.float16)
        for split in corpus.splits.values()
        for video in split
    }
    contract = CONTRACT.__class__(**{**vars(CONTRACT), "stride_seconds": 4.0})
    source = FeatureSource(contract, {name: lambda v=v: v for name, v in videos.items()})
    found = annotated.write(corpus, source, output, annotated.Choices())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> index.Dataset:
    folder = tmp_path_factory.mktemp("youcook2")
    return write(made_annotation(folder), folder / "set")


@pytest.fixture(scope="module")
def all_labelled(tmp_path_factory) -> index.Dataset:
    folder = tmp_path_factory.mktemp("all_labelled")
    steps = {"training": STEPS["training"], "validation": ALL_LABELLED}
    return write(made_annotation(folder, steps), folder / "set")


def context_of(bundle, dataset: index.Dataset, limit: int | None = None) -> EvaluationContext:
    bundle = bundle.__class__(**{**vars(bundle), "contract": dataset.contract})
    return EvaluationContext(bundle, dataset, dataset.split("validation"), 0, limit=limit)


def right_by_hand(lines, kind: str, at: int) -> float:
    """Share of examples with one of their labels among the first, off the lines."""
    own = [line[kind] for line in lines if kind in line]
    return float(
        np.mean([bool({*of.get("labels", [of["label"]])} & {*of["best"][:at]}) for of in own])
    )


def test_the_lists_are_the_papers_sizes_and_have_the_digests_they_say():
    fields = json.loads(youcook2.LABELS_FILE.read_text())
    for kind, size in (("verb", 45), ("object", 100)):
        forms = {label: of["forms"] for label, of in fields[kind].items()}
        assert len(forms) == size and all(said[0] == label for label, said in forms.items())
        words = [word for said in forms.values() for word in said]
        assert len(set(words)) == len(words)
        text = json.dumps(forms, sort_keys=True, separators=(",", ":"))
        assert fields["digests"][kind] == hashlib.sha256(text.encode()).hexdigest()


def test_steps_are_labelled_with_their_verbs_and_objects(made):
    split = made.split("validation")
    names = {kind: [*of.names, None] for kind, of in split.labels.items()}
    assert [names["verb"][i] for i in split.labels["verb"].ids[:4]] == [
        "add",
        None,
        "chop",
        "place",
    ]
    objects = [names["object"][i] for i in split.labels["object"].ids[:4]]
    assert objects == ["onion", None, "bread", "oven"]
    first = made.annotations("validation")[0]["steps"]
    assert first[0]["labels"] == {
        "verb": ["add", "stir", "fry"],
        "object": ["onion", "salt", "pan"],
    }
    assert first[1]["labels"] == {} and first[2]["labels"]["verb"] == ["chop"]
    assert set(made.metadata["label_surface_forms"]) == {"verb", "object"}


def test_any_label_of_a_step_is_right(bundle, made, monkeypatch):
    def by_number(answer, variant):  # the last label of the alphabet scores highest
        rows, columns = answer.seen["cloze"].shape
        return np.tile(np.arange(columns, dtype=np.float64), (rows, 1))

    monkeypatch.setattr(zero_shot_classification._Answer, "by", by_number)
    context = context_of(bundle, made)
    result = zero_shot_classification.evaluate(context)
    assert len(result.expected) == 6  # two of eight steps have neither verb nor object
    assert result.examples[0]["verb"]["label"] == "add"
    assert result.examples[0]["verb"]["labels"] == ["add", "fry", "stir"]
    assert "labels" not in result.examples[1]["verb"]
    verbs = sorted(made.metadata["label_surface_forms"]["verb"])
    assert result.examples[0]["verb"]["rank"] == 45 - verbs.index("stir")
    assert result.examples[1]["verb"]["rank"] == 45 - verbs.index("chop")
    for kind in ("verb", "object"):
        for at in (1, 5):
            assert result.metrics[f"{kind}_top{at}"] == right_by_hand(result.examples, kind, at)
    # chance of a random order, by drawing them; three of four kinds of steps have labels
    random, numbers = np.random.default_rng(0), np.arange(45)
    firsts = [random.permutation(numbers)[:5] for _ in range(40_000)]
    share = np.mean([[min(first) < r for first in firsts] for r in (3, 1, 1)])
    assert result.baselines["chance"]["verb_top5"] == pytest.approx(share, abs=0.005)
    fields = json.loads(youcook2.LABELS_FILE.read_text())
    assert result.details["label_digests"] == fields["digests"]
    assert "45 verbs, 100 objects), of several labels of an example each right" in result.protocol
    probe = linear_probe.evaluate(context)
    assert "each right" in probe.protocol and probe.examples[0]["object"]["labels"]
    best = [{*line["verb"].get("labels", [line["verb"]["label"]])}
            & {line["verb"]["best_by"]["video_tower"][0]} for line in probe.examples]  # fmt: skip
    assert probe.metrics["verb_video_tower_top1"] == np.mean([bool(one) for one in best])


def own_labels(dataset: index.Dataset, kind: str) -> list[set[str]]:
    """Of every example of the validation split, as its annotations say."""
    videos = dataset.annotations("validation")
    return [set(step["labels"].get(kind, ())) for of in videos for step in of["steps"]]


def test_hidden_words_of_several_labels_are_told_by_any(bundle, made, monkeypatch):
    """Of one example at a time, from the scores of the labels."""
    seen, items = {}, {}
    original = fill_mask._scores

    def noted(context, scorer, slot, of):
        items[slot], seen[slot] = of, original(context, scorer, slot, of)
        return seen[slot]

    monkeypatch.setattr(fill_mask, "_scores", noted)
    context = context_of(bundle, made)
    result = fill_mask.evaluate(context)
    names = {kind: sorted(of) for kind, of in made.metadata["label_surface_forms"].items()}
    texts, mask = context.split.texts(range(8)), context.runner.tokenizer.mask_id
    lines = {line["example_id"]: line for line in result.examples}
    several = 0
    for kind in ("verb", "object"):
        own = own_labels(made, kind)
        assert [of.example for of in items[kind]] == [n for n in range(8) if own[n]]
        for condition in fill_mask.CONDITIONS:
            hits = []
            for row, of in enumerate(items[kind]):
                scores = dict(zip(names[kind], seen[kind][condition][row].tolist(), strict=True))
                best = max(scores[name] for name in own[of.example])
                wrong = [scores[name] for name in scores.keys() - own[of.example]]
                told = lines[of.example][kind]
                assert told[condition]["rank"] == 1 + sum(other > best for other in wrong)
                hits.append(max(scores, key=lambda name: scores[name]) in own[of.example])
                assert set(told.get("labels", [told["label"]])) == own[of.example]
                several += len(own[of.example]) > 1
            assert result.metrics[f"{kind}_accuracy_{condition}"] == np.mean(hits)
    assert several == 2 * 2 * 3  # of two examples both kinds, by every condition
    # nothing tells a label away: of "add .. stir and fry" two masks, beside that which is tried
    first = items["verb"][0]
    assert texts[0].startswith("add ") and first.form == "add" and first.blank.before == ()
    (left,) = context.runner.tokenizer.encode(["onions and salt to the pan, stir and fry"])
    (stir, fry) = context.runner.tokenizer.encode(["stir", "fry"])
    assert first.blank.after.count(mask) == 2 and left[: len(left) // 3] == list(
        first.blank.after[: len(left) // 3]
    )
    for pieces in (stir, fry):
        assert str(pieces)[1:-1] not in str(first.blank.after)
    assert "all labels of a kind at a time, tried at the first, every occ" in result.protocol
    assert "several labels of an example each right" in result.protocol
    random, numbers = np.random.default_rng(0), np.arange(45)
    counts = [len(of) for of in own_labels(made, "verb") if of]
    firsts = [random.permutation(numbers)[:1] for _ in range(40_000)]
    share = np.mean([[min(one) < count for one in firsts] for count in counts])
    chance = result.baselines["chance"]["verb_accuracy_with_video"]
    assert chance == pytest.approx(share, abs=0.005)


def test_the_same_action_shares_a_label_of_every_kind(bundle, all_labelled):
    context = context_of(bundle, all_labelled)
    verbs, objects = (own_labels(all_labelled, kind) for kind in ("verb", "object"))
    count = len(verbs)
    right = np.array(
        [
            [bool(verbs[i] & verbs[j]) and bool(objects[i] & objects[j]) for j in range(count)]
            for i in range(count)
        ]
    )
    assert right[0, 1] and right[0, 2] and not right[1, 2]  # so that there are no groups
    result = retrieval.evaluate(context, shortlist=4)
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    other = 0
    for name, scores in (("text_to_video", text @ video.T), ("video_to_text", video @ text.T)):
        for query, line in enumerate(result.examples):
            best = max(scores[query, c] for c in range(count) if right[query, c])
            wrong = [scores[query, c] for c in range(count) if not right[query, c]]
            assert line[f"{name}_same_action_rank"] == 1 + sum(of > best for of in wrong)
            short = np.argsort(-scores[query])[:4]
            there = line[f"reranked_{name}_same_action_rank"] <= 4
            assert there == right[query, short].any()
            other += line[f"{name}_same_action_rank"] != line[f"{name}_rank"]
    assert other
    assert "one of the query's labels of each kind (verb, object) is right" in result.protocol
    assert f"the first one counts; {right.sum() / count:.2f} of them" in result.protocol
    orders = np.random.default_rng(0).random((4000, count)).argsort(axis=1).argsort(axis=1)
    share = np.mean([[(order[of].min() < 1) for order in orders] for of in right])
    chance = result.baselines["chance"]["text_to_video_same_action_R1"]
    assert chance == pytest.approx(share, abs=0.01)


def test_a_caption_fits_examples_of_which_it_names_every_label(made, all_labelled):
    for dataset, expected in ((made, [2, 8, 2, 2]), (all_labelled, [6, 2, 2, 2, 2])):
        kinds = [own_labels(dataset, kind) for kind in ("verb", "object")]  # which captions name
        count = len(kinds[0])
        fitting = [
            sum(
                all(not own[i] or (own[j] and own[j] <= own[i]) for own in kinds) or i == j
                for j in range(count)
            )
            for i in range(count)
        ]
        split = dataset.split("validation")
        assert labels.num_fitting(dataset, split, np.arange(count)).tolist() == fitting
        assert fitting == expected * 2


def test_annotations_of_other_steps_are_refused(made, tmp_path):
    split = made.split("validation")
    ids = np.arange(len(split))
    assert labels.right(made, split, "verb", ids).sum(axis=1).tolist() == [3, 0, 1, 1] * 2
    assert labels.right(made, split, "verb", ids[5:]).sum(axis=1).tolist() == [0, 1, 1]
    file = made.path / index.annotations_file("validation")
    content = file.read_text()
    about = [json.loads(line) for line in content.splitlines()]
    fewer, other, no_object = (copy.deepcopy(about) for _ in range(3))
    del fewer[1]["steps"][0]
    other[1]["steps"][0]["labels"]["verb"] = ["sing"]
    no_object[1]["steps"][2] = 3
    wrong = "line 2 of annotations/validation.jsonl does not say labels of steps"
    try:
        for damaged, message in (
            (fewer, "'valid_00001' has 4 examples and 3 labelled"),
            (other, f"{wrong} .*of verb there is no such label"),
            (no_object, wrong),
        ):
            file.write_text("".join(json.dumps(line) + "\n" for line in damaged))
            with pytest.raises(EvaluationError, match=message):
                labels.right(made, split, "verb", ids)
        file.write_text('{"steps": [1, 2]}\n{"steps": 3}\n')  # somebody's own
        assert labels.right(made, split, "verb", ids).sum(axis=1).tolist() == [1, 0, 1, 1] * 2
    finally:
        file.write_text(content)


@real
def test_the_lists_are_those_of_the_real_captions(tmp_path):
    pytest.importorskip("textblob")
    output = tmp_path / "lists.json"
    assert main.main(["label-lists", f"--annotations={REAL}", f"--output={output}"]) == 0
    assert label_lists.load(output) == label_lists.load(youcook2.LABELS_FILE)
    assert (
        main.main(["label-lists", f"--annotations={REAL}", f"--output={output}", "--verbs=0"]) == 2
    )


@real
def test_the_lists_fit_what_others_say_of_the_same_videos():
    lists = label_lists.load(youcook2.LABELS_FILE)
    database = json.loads(REAL.read_text())["database"].values()
    said = [
        set(re.findall(r"[a-z]+", step["sentence"].lower()))
        for video in database
        if video["subset"] == "training"
        for step in video["annotations"]
    ]
    for name in ("onion", "egg", "pan"):
        of = lists.forms["object"][name]
        assert lists.captions["object"][name] == sum(bool(words & set(of)) for words in said)
    with open(SHARED / "yc2bb_class_file.csv", newline="") as file:  # the 66 classes with boxes
        classes = {row[1].strip() for row in csv.reader(file)}
    assert len(classes & set(lists.forms["object"])) >= 0.75 * len(classes)
    with open(SHARED / "timed_asr.csv", newline="", encoding="utf-8") as file:  # steps by hand
        rows = csv.DictReader(file)
        verbs = [row["Verb"].strip().lower() for row in rows if row["Verb"].strip()]
    assert np.mean([verb in lists.forms["verb"] for verb in verbs]) > 0.7


@pytest.mark.long
@real
def test_table_1_of_the_real_annotation_with_made_features(bundle, tmp_path):
    dataset = write(REAL, tmp_path / "set")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 10_337,
        "validation": 3_492,
    }
    split = dataset.split("validation")
    right = labels.right(dataset, split, "object", np.arange(len(split)))
    has_any, several = right.any(axis=1), right.sum(axis=1) > 1
    assert (has_any == (split.labels["object"].ids >= 0)).all()
    assert 0.92 < has_any.mean() < 0.94 and 0.6 < several.mean() < 0.75
    result = zero_shot_classification.evaluate(context_of(bundle, dataset, limit=64))
    assert result.templates == ["now let me show you how to {verb} the {object}"]
    rows = {"chance", "language_prior", "majority", "supervised_ridge", "supervised_mlp"}
    assert rows <= set(result.baselines)
    for kind in ("verb", "object"):
        for at in (1, 5):
            assert result.metrics[f"{kind}_top{at}"] == right_by_hand(result.examples, kind, at)
            assert result.baselines["chance"][f"{kind}_top{at}"] < 0.25
