"""Captions of another system: scored like a network's, refused where they are not of the split."""

import argparse
import json

import numpy as np
import pytest

from tests.tasks.metrics.test_caption_scores import cider
from videobert_jax.cli import evaluate
from videobert_jax.data import writer
from videobert_jax.tasks import caption_files, caption_labels, caption_results, comparison, report
from videobert_jax.tasks.caption_results import References
from videobert_jax.tasks.context import PredictionContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import caption_meteor, caption_pairs, caption_scores
from videobert_jax.tasks.metrics.caption_tokens import tokenize

pytestmark = pytest.mark.usefixtures("no_java")


@pytest.fixture
def captions(dataset) -> list[dict]:
    """Of every example of the test split that of the next one."""
    split = dataset.split("test")
    texts = split.texts(range(len(split)))
    return [{"image_id": i, "caption": texts[(i + 1) % len(texts)]} for i in range(len(texts))]


def run(dataset, file, *flags: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    given = [f"--predictions={file}", f"--dataset={dataset.path}", "--task=captioning"]
    return evaluate.run(parser.parse_args([*given, *flags]))


def kept(context: PredictionContext, captions: list[str], output) -> comparison.Result:
    """The result of captions of the segments under evaluation, as `compare` reads it."""
    references = References.of(context, needs_clips=False)
    result = caption_results.result(
        context, references, captions, truncation={}, details={}, wordless=False
    )
    report.write(report.record(context, result), result.examples, output)
    return comparison.Result.read(output)


def test_captions_are_scored_like_a_networks(dataset, captions, tmp_path, capsys):
    file = tmp_path / "captions.json"
    order = np.random.default_rng(0).permutation(len(captions)).tolist()
    file.write_text(json.dumps([captions[place] for place in order]))
    assert run(dataset, file) == 0
    record = json.loads((tmp_path / "captions.json_eval" / "captioning.json").read_text())
    assert record["setting"] == "predictions" and record["predictions"]["file"] == str(file)
    texts = dataset.split("test").texts(range(len(captions)))
    pairs = caption_pairs.pair(
        enumerate(of["caption"] for of in captions), enumerate([text] for text in texts)
    )
    expected = caption_scores.score(pairs).summary()
    assert {name: record["metrics"][name] for name in expected} == pytest.approx(expected)
    split = dataset.split("test")
    verbs = split.labels["verb"].ids
    assert record["metrics"]["exact_verb"] == pytest.approx((verbs == np.roll(verbs, -1)).mean())
    assert {"CIDEr_D", "exact_all"} <= record["intervals"].keys()
    assert record["baselines"].keys() == {"chance", "language_prior", "shuffled_video"}
    assert "BLEU_4" in capsys.readouterr().out


def test_meteor_is_of_every_row_and_told_by_the_lines(dataset, captions, tmp_path, monkeypatch):
    def told(caption: str, reference: str) -> list[int]:
        """Words of both, and those that both have."""
        said, known = caption.split(), reference.split()
        return [len(said), len(known), len(set(said) & set(known))]

    def share(said: int, known: int, met: int) -> float:
        """METEOR of content words that are matched one by one."""
        if not met:
            return 0.0
        precision, recall = met / said, met / known
        return 0.4 * precision * recall / (0.85 * precision + 0.15 * recall)

    class Program:
        """Stands in for Java: words of a caption that its first reference has, none in a run."""

        def __init__(self):
            self.lines: list[str] = []

        def compute_score(self, references, candidates):
            found = [told(of[0], references[key][0]) for key, of in candidates.items()]
            for said, known, met in found:
                self.lines.append(f"{said} {known} 0 0 {met} {met}{' 0' * 14} {met} {met} {met}")
            return share(*np.sum(found, axis=0)), [share(*of) for of in found]

    monkeypatch.setattr(caption_meteor, "_program", Program)
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(captions))
    assert run(dataset, file) == 0
    output = tmp_path / "captions.json_eval" / "captioning.json"
    record, lines = json.loads(output.read_text()), report.read_examples(output)
    for name, figures in {"": record["metrics"], **record["baselines"]}.items():
        of_system = [line["baselines"][name] if name else line for line in lines]
        counts = [
            told(tokenize(of["caption"]), tokenize(line["references"][0]))
            for line, of in zip(lines, of_system, strict=True)
        ]
        shares = [line["METEOR"] for line in of_system]
        assert shares == pytest.approx([share(*of) for of in counts])
        assert figures["METEOR_macro"] == pytest.approx(np.mean(shares))
        assert figures["METEOR"] == pytest.approx(share(*np.sum(counts, axis=0)))
    low, high = record["intervals"]["METEOR"]
    assert low < record["metrics"]["METEOR"] < high
    assert "METEOR_macro" in record["intervals"]
    assert record["meteor"] == {"value": record["metrics"]["METEOR"], "reason": None}
    assert len(record["baselines"]) == 3
    result = comparison.Result.read(output)
    figure = comparison.compare(result, result, intersection=False, seed=0)["figures"]["METEOR"]
    assert (figure["interval"], figure["p_value"]) == ([0, 0], 1)


def test_an_intersection_has_the_cider_of_its_own_references(dataset, captions, tmp_path):
    """By its definition, over the examples that two results have in common."""
    split, results = dataset.split("test"), []
    texts = split.texts(range(len(split)))
    for name, count in (("all", len(captions)), ("some", 18)):
        written = [
            of["caption"] if name == "all" or n % 3 else texts[n] for n, of in enumerate(captions)
        ]
        context = PredictionContext({"file": name}, dataset, split, 0, limit=count)
        results.append(kept(context, written[:count], tmp_path / f"{name}.json"))
    found = comparison.compare(*results, intersection=True, seed=0)
    references = [[tokenize(text)] for text in texts[:18]]
    for side, result in zip(("first", "second"), results, strict=True):
        said = [tokenize(result.lines[n]["caption"]) for n in range(18)]
        for name, clipped in (("CIDEr", False), ("CIDEr_D", True)):
            pairs = zip(said, references, strict=True)
            each = [cider(*one, references, clipped=clipped) for one in pairs]
            assert found["figures"][name][side] == pytest.approx(np.mean(each))
            told = np.mean([result.lines[n][name] for n in range(18)])
            assert (abs(told - np.mean(each)) > 0.01) == (side == "first")  # of all its examples
    assert found["notes"] == [comparison.ANEW]
    assert found["figures"]["ROUGE_L"]["first"] == pytest.approx(
        np.mean([results[0].lines[n]["ROUGE_L"] for n in range(18)])
    )
    same = comparison.compare(results[1], results[1], intersection=False, seed=0)
    assert same["notes"] == []


def test_segments_with_other_references_are_no_intersection(dataset, tmp_path):
    out = writer.DatasetWriter(tmp_path / "clips", "clips", dataset.contract)
    for video in ("a", "b"):
        said = [writer.Segment(0.0, 1.0, f"{video} {n}") for n in range(2)]
        out.add_video("test", video, None, said)
    made, results = out.finish(), []
    for limit in (3, 4):  # of the second segment one reference, or both
        context = PredictionContext({"file": "x"}, made, made.split("test"), 0, limit=limit)
        results.append(kept(context, ["a", "b"], tmp_path / f"{limit}.json"))
    with pytest.raises(EvaluationError, match=r"example 2: references is \['b 0'\] in .*'b 1'\]"):
        comparison.compare(*results, intersection=True, seed=0)


def test_lines_are_read_as_well_and_their_videos_compared(dataset, captions, tmp_path):
    split, file = dataset.split("test"), tmp_path / "captions.jsonl"
    lines = [
        {"example_id": of["image_id"], "caption": of["caption"], "video": f"test_{n // 5}"}
        for n, of in enumerate(captions)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    references = References.of(PredictionContext({}, dataset, split, 0), needs_clips=False)
    assert caption_files.read(file, split, references) == [of["caption"] for of in captions]
    captions[3]["caption"] = lines[3]["caption"] = "one\u2028text\u0085of three lines"
    file.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n")
    assert caption_files.read(file, split, references) == [of["caption"] for of in captions]
    lines[7]["video"] = "test_0"
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(EvaluationError, match="line 8: video of example 7 is 'test_0', in the da"):
        caption_files.read(file, split, references)


def test_a_video_of_one_segment_may_be_named(dataset, tmp_path):
    out = writer.DatasetWriter(tmp_path / "clips", "clips", dataset.contract)
    for video, times in (("a", [0.0]), ("b", [0.0, 0.0]), ("c", [0.0, 2.0])):
        said = [writer.Segment(start, start + 1, f"{video} {n}") for n, start in enumerate(times)]
        out.add_video("test", video, None, said)
    split = out.finish().split("test")
    context = PredictionContext({}, dataset, split, 0)
    references = References.of(context, needs_clips=False)
    file = tmp_path / "captions.json"
    told = [("b", "two references"), ("a", "one"), (3, "first"), (4, "second")]
    file.write_text(json.dumps([{"id": one, "caption": caption} for one, caption in told]))
    read = caption_files.read(file, split, references)
    assert read == ["one", "two references", "first", "second"]
    told[2] = ("c", "which of them")
    file.write_text(json.dumps([{"id": one, "caption": caption} for one, caption in told]))
    with pytest.raises(EvaluationError, match=r"1 of the 4 segments .*\[3\].*1 ids .*\['c'\]"):
        caption_files.read(file, split, references)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: [], "no caption in it"),
        (lambda told: told[:-2], r"2 of the 30 segments with captions .*\[28, 29\]"),
        (lambda told: [*told, {"id": 77, "caption": "x"}], r"1 ids are none of them .*\[77\]"),
        (lambda told: [*told, told[4]], "entry 31: a second caption of segment 4"),
        (lambda told: [{"id": 0}, *told[1:]], "entry 1: .*an object with one of id, image_id"),
        (lambda told: [told[0] | {"id": 0}, *told[1:]], "entry 1: .*with one of id"),
        (lambda told: [told[0] | {"caption": " . "}, *told[1:]], "1 candidates hold no word"),
        (lambda told: "a caption", "neither a JSON list nor a JSON object a line"),
    ],
)
def test_captions_that_are_not_the_splits_are_refused(dataset, captions, tmp_path, change, message):
    file, changed = tmp_path / "captions.json", change(captions)
    file.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(EvaluationError, match=message):
        run(dataset, file)


def test_a_split_without_captions_and_ids_beside_captions_are_refused(dataset, captions, tmp_path):
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(captions))
    with pytest.raises(EvaluationError, match="--ids=.*: ids and directions of captions"):
        run(dataset, file, f"--ids={file}")
    out = writer.DatasetWriter(tmp_path / "silent", "silent", dataset.contract)
    out.add_video("test", "a", None, [writer.Segment(0.0, 1.0, "")])
    with pytest.raises(EvaluationError, match="has no example with a caption, so nothing to comp"):
        run(out.finish(), file)


def test_a_caption_is_exact_where_it_names_its_label_and_no_other(dataset):
    split = dataset.split("test")
    own = {kind: of.names[of.ids[0]] for kind, of in split.labels.items()}
    verb, thing = own["verb"], own["object"].replace("_", " ")
    other = next(name for name in split.labels["verb"].names if name != verb)
    told = [f"{verb} the {thing}", f"{verb} and {other} the {thing}", f"{other} it", ""]
    found = caption_labels.exact(dataset, split, np.zeros(4, np.int64), told)
    assert [of["verb"] for of in found] == [True, False, False, False]
    assert [of["object"] for of in found] == [True, True, False, False]
    assert [of["all"] for of in found] == [True, False, False, False]


def test_words_of_one_kind_may_be_those_of_another(dataset, tmp_path):
    forms = {
        "verb": {"chop": ["chop"], "oil": ["oil"]},
        "object": {"onion": ["onion"], "oil": ["oil"]},
    }
    metadata = {"label_surface_forms": forms}
    out = writer.DatasetWriter(tmp_path / "oils", "oils", dataset.contract, metadata=metadata)
    labels = {"verb": "chop", "object": "onion"}
    out.add_video("train", "a", None, [writer.Segment(0.0, 1.0, "now chop the onion", labels)])
    other = {"verb": "oil", "object": "oil"}
    out.add_video("train", "b", None, [writer.Segment(0.0, 1.0, "shine on", other)])
    made = out.finish()
    patterns = caption_labels.Patterns(made, made.split("train"), ["verb", "object"])
    assert patterns.captions == {("chop", "onion"): ["now chop the onion"]}
    assert patterns.in_words(("oil", "oil")) == "now oil the oil"
    assert patterns.in_words(("chop", "oil")) == "now chop the oil"
