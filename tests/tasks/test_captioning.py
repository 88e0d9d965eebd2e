"""Captions of a split: the same as an application gets, figures that follow from the lines."""

import argparse
import dataclasses
import json
import re

import numpy as np
import pytest

from tests.tasks.conftest import OBJECTS, VERBS
from videobert_jax import loading, schema
from videobert_jax.cli import evaluate
from videobert_jax.inference.model import PretrainedModel
from videobert_jax.tasks import captioning, prior_captions, report
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import caption_pairs, caption_scores

pytestmark = pytest.mark.usefixtures("no_java")

WRITING = {
    "beams": 2,
    "length_penalty": 1.0,
    "top_p": None,
    "temperature": None,
    "no_repeat_ngram": 0,
    "repetition_penalty": 1.0,
}
SETTINGS = captioning.Settings(inputs="video", transcripts=None, writing=WRITING)


def named_in(caption: str, forms: dict[str, list[str]]) -> set[str]:
    """Labels whose words stand in a caption; a spring onion is no onion."""
    written = re.sub(r"spring onions?", "spring_onion", re.sub(r"[,.]", "", caption)).split()
    return {label for label, of in forms.items() if {label, *of} & set(written)}


def test_captions_are_those_of_the_application_and_figures_follow_from_them(context, bundle):
    result = captioning.evaluate(context, SETTINGS)
    assert len(result.examples) == 30
    lines = result.examples
    # by the other way to the network: padded features, no towers kept
    builder = context.runner.builder(context.split)
    block = builder.build(0).batch
    features = {
        int(block.example_ids[row, 0]): block.video_features[row][
            block.video_segment_ids[row] != schema.NO_SEGMENT
        ].astype(np.float32)
        for row in range(len(block.example_ids))
        if block.example_ids[row, 0] != schema.PADDING_EXAMPLE
    }
    asked = [features[line["example_id"]] for line in lines]
    assert [line["caption"] for line in lines] == PretrainedModel(bundle).caption(
        asked, num_beams=2
    )
    assert len({line["caption"] for line in lines}) > 3
    for name, figures in {"": result.metrics, **result.baselines}.items():
        told = [line["baselines"][name] if name else line for line in lines]
        pairs = caption_pairs.pair(
            enumerate(line["caption"] for line in told),
            enumerate(line["references"] for line in lines),
            wordless_candidates=True,
        )
        scores = caption_scores.score(pairs).summary()
        assert scores == pytest.approx({key: figures[key] for key in scores})
        for kind, forms in (("verb", VERBS), ("object", OBJECTS)):
            of_split = context.split.labels[kind]
            right = [
                named_in(line["caption"], forms)
                == {of_split.names[of_split.ids[given["example_id"]]]}
                for line, given in zip(told, lines, strict=True)
            ]
            assert [line["exact"][kind] for line in told] == right
            assert figures[f"exact_{kind}"] == pytest.approx(np.mean(right))
        assert figures["exact_all"] <= min(figures["exact_verb"], figures["exact_object"])
        mean = np.mean([line["CIDEr_D"] for line in told])
        assert figures["CIDEr_D"] == pytest.approx(mean)
    record = report.record(context, result)
    assert record["meteor"]["value"] is None and "`java`" in record["meteor"]["reason"]
    assert record["inputs"] == "video" and record["writing"]["beams"] == 2
    assert record["intervals"].keys() == record["metrics"].keys() >= {"BLEU_4", "BLEU_4_macro"}
    assert "shuffled_video" in report.table(record)


def test_looking_up_the_nearest_clips_tells_more_than_a_drawn_caption(context):
    captions, (note, supervised) = prior_captions.of(context, context.ids, ["x"] * 29 + ["y"])
    references = [[text] for text in context.split.texts(context.ids.tolist())]

    def cider(name: str) -> float:
        given = caption_pairs.pair(enumerate(captions[name]), enumerate(references))
        return caption_scores.score(given).summary()["CIDEr_D"]

    assert cider("nearest_neighbour") > 1.5 * cider("chance")
    assert cider("supervised_ridge") > cider("nearest_neighbour")
    assert len(set(captions["chance"])) > 10 and len(set(captions["language_prior"])) == 1
    assert captions["shuffled_video"].index("y") != 29 and "60 examples of split 'train'" in note
    assert supervised.startswith("supervised_ridge, supervised_mlp: verb, object told")


def test_the_most_typical_caption_shares_most_words():
    known = ["stir the soup", "pour soup slowly", "stir soup slowly", "chop an onion"]
    assert prior_captions.most_typical(known) == "stir soup slowly"


@pytest.mark.long
def test_what_is_said_is_read_alone_or_with_the_clips(bundle, dataset):
    """The captions of the split itself stand for its transcripts."""
    context = EvaluationContext(bundle, dataset, dataset.split("test"), 0, limit=8)
    settings = dataclasses.replace(SETTINGS, inputs="transcript", transcripts="test")
    result = captioning.evaluate(context, settings)
    said = [line["references"][0] for line in result.examples]
    alone = [line["caption"] for line in result.examples]
    assert alone == PretrainedModel(bundle).caption(transcript=said, num_beams=2)
    assert result.details["num_transcripts"] == 8 and result.details["inputs"] == "transcript"
    both = captioning.evaluate(context, dataclasses.replace(settings, inputs=None))
    assert both.details["inputs"] == "both"
    assert [line["caption"] for line in both.examples] != alone


def test_captions_are_written_where_states_are_made_again(context, made_again):
    kept = captioning.evaluate(context, SETTINGS)
    other, counts = made_again
    found = captioning.evaluate(other, SETTINGS)
    assert [line["caption"] for line in found.examples] == [
        line["caption"] for line in kept.examples
    ]
    assert counts == [10, 10, 10]


def test_examples_with_the_same_times_are_references_of_one(context):
    start, end = context.split.start.copy(), context.split.end.copy()
    start[1], end[1] = start[0], end[0]
    split = dataclasses.replace(context.split, start=start, end=end)
    other = context.on(split)
    vars(other).update(encodings=context.encodings)
    result = captioning.evaluate(other, SETTINGS)
    assert len(result.expected) == 29 and 1 not in result.expected
    assert result.examples[0]["references"] == context.split.texts([0, 1])
    assert result.details["num_references"] == 30 and "up to 2 references" in result.protocol


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": "both"}, "'both' need transcripts, and '' is no split .*--inputs=video"),
        ({"inputs": "transcript", "transcripts": "x"}, "'x' is no split of .*train, test"),
        ({"writing": WRITING | {"beams": 0}}, "beams=0 and length_penalty=1.0; expected 1 or"),
        ({"writing": WRITING | {"top_p": 0.9}}, "beams=2, length_penalty=1.0 with top_p=0.9"),
    ],
)
def test_settings_without_a_search_are_refused(context, change, message):
    with pytest.raises(EvaluationError, match=message):
        captioning.evaluate(context, dataclasses.replace(SETTINGS, **change))


def test_a_network_without_decoder_is_refused(bundle, dataset, capsys):
    none = dataclasses.replace(bundle.config.decoder, num_layers=0)
    other = dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, decoder=none))
    context = EvaluationContext(other, dataset, dataset.split("test"), 0)
    with pytest.raises(EvaluationError, match="tiny has none .model.decoder.num_layers=0.; eval"):
        captioning.evaluate(context, SETTINGS)
    assert "captioning" not in evaluate._tasks(None, dataset, context.split, other)
    assert "captioning" in evaluate._tasks(None, dataset, context.split, bundle)
    assert "no decoder" in capsys.readouterr().err


@pytest.mark.long
def test_the_command_writes_the_record(bundle, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load_bundle", lambda name, weights: bundle)
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    output = tmp_path / "captions.json"
    flags = ["--checkpoint=x", "--task=captioning", "--beams=2", "--limit=8", "--platform=cpu"]
    assert evaluate.run(parser.parse_args([*flags, f"--output={output}"])) == 0
    record = json.loads(output.read_text())
    assert record["writing"]["beams"] == 2 and record["dataset"]["num_evaluated"] == 8
    printed = capsys.readouterr().out
    assert "BLEU_4_macro" in printed and "nearest_neighbour" in printed
