"""Another system's similarities: the figures of the network where they are its own, and errors."""

import argparse
import json

import numpy as np
import pytest

from videobert_jax.cli import evaluate, main
from videobert_jax.files import digests
from videobert_jax.tasks import report, retrieval
from videobert_jax.tasks.errors import EvaluationError


@pytest.fixture(scope="module")
def result(context):
    return retrieval.evaluate(context, shortlist=0)


@pytest.fixture
def cosines(context, tmp_path):
    text, video = context.encodings.text_embeddings, context.encodings.video_embeddings
    np.save(tmp_path / "scores.npy", text @ video.T)
    return tmp_path / "scores.npy"


def run(dataset, *flags: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    given = [f"--dataset={dataset.path}", "--task=retrieval", *flags]
    return evaluate.run(parser.parse_args(given))


def read(file):
    output = file.with_name(f"{file.name}_eval") / "retrieval.json"
    return json.loads(output.read_text()), report.read_examples(output)


def test_the_networks_own_similarities_have_its_figures(dataset, context, result, cosines, capsys):
    page = cosines.parent / "page"
    assert run(dataset, f"--predictions={cosines}", f"--report={page}") == 0
    assert f"predictions {cosines}" in (page / "index.html").read_text()
    record, lines = read(cosines)
    assert record["metrics"] == result.metrics
    own = report.record(context, result)
    for field in ("protocol", "ties", "dataset", "intervals", "averaging", "statistics"):
        assert record[field] == json.loads(json.dumps(own[field])), field
    assert record["predictions"] == {
        "file": str(cosines),
        "sha256": digests.sha256_file(cosines),
        "order": "the dataset's",
    }
    assert "checkpoint" not in record and record["setting"] == "predictions"
    assert record["baselines"].keys() == {"chance", "label_oracle"}
    ranks = [line["text_to_video_rank"] for line in result.examples]
    assert [line["text_to_video_rank"] for line in lines] == ranks
    assert "text_to_video_R1" in capsys.readouterr().out


def test_predictions_are_compared_with_a_checkpoint(
    dataset, context, result, cosines, tmp_path, capsys
):
    report.write(report.record(context, result), result.examples, tmp_path / "ours.json")
    np.save(cosines, np.eye(30) + np.load(cosines) / 4)  # a system that is always right
    assert run(dataset, f"--predictions={cosines}") == 0
    theirs = cosines.with_name("scores.npy_eval") / "retrieval.json"
    assert main.main(["compare", str(tmp_path / "ours.json"), str(theirs)]) == 0
    (line,) = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("text_to_video_R1 ") and "100.0 %" in line and "+" in line
    ]
    ours = result.metrics["text_to_video_R1"]
    assert f"{100 * (1 - ours):+.1f}" in line


@pytest.mark.parametrize("as_lines", [True, False])
def test_rows_in_another_order_are_put_in_the_datasets(dataset, result, cosines, as_lines):
    order = np.random.default_rng(0).permutation(30)
    np.save(cosines, np.load(cosines)[np.ix_(order, order)])
    lines = [result.examples[i] if as_lines else i for i in order.tolist()]
    ids = cosines.with_name("ids.jsonl")
    ids.write_text("\n".join(json.dumps(line) for line in lines))
    assert run(dataset, f"--predictions={cosines}", f"--ids={ids}") == 0
    record, _ = read(cosines)
    assert record["metrics"] == result.metrics
    assert record["predictions"]["order_sha256"] == digests.sha256_file(ids)
    assert run(dataset, f"--predictions={cosines}") == 0
    assert read(cosines)[0]["metrics"] != result.metrics


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*range(29)], r"1 of the 30 .* are not there .*\[29\]"),
        ([*range(30), 3], "example 3 is named twice"),
        ([*range(29), 30], "line 30: example_id 30; expected a number from 0 to 29"),
        (["x"], "line 1: example_id 'x'"),
        ([{"example_id": 2, "text": "another"}], "line 1: text of example 2 is 'another'"),
    ],
)
def test_ids_that_do_not_fit_are_named(dataset, cosines, lines, message):
    ids = cosines.with_name("ids.jsonl")
    ids.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(EvaluationError, match=message):
        run(dataset, f"--predictions={cosines}", f"--ids={ids}")


def of_ranks(result) -> list[dict]:
    """Lines as another system writes them: ids and ranks, in an order of its own."""
    keys = ("example_id", "text_to_video_rank", "video_to_text_rank")
    lines = [{key: line[key] for key in keys} for line in result.examples]
    return [lines[i] for i in np.random.default_rng(0).permutation(30).tolist()]


def write_lines(file, lines):
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_the_networks_own_ranks_have_its_figures_and_are_compared(
    dataset, context, result, tmp_path
):
    file = write_lines(tmp_path / "ranks.jsonl", of_ranks(result))
    assert run(dataset, f"--predictions={file}") == 0
    record, lines = read(file)
    told = {k: v for k, v in result.metrics.items() if "same_action" not in k}
    assert record["metrics"] == told and len(told) == 12
    assert record["scores"] == "ranks as given" and record["protocol"] == result.protocol
    keys = ("example_id", "video", "text", "text_to_video_rank", "video_to_text_rank")
    assert [[line[k] for k in keys] for line in lines] == [
        [line[k] for k in keys] for line in result.examples
    ]
    report.write(report.record(context, result), result.examples, tmp_path / "ours.json")
    theirs = file.with_name("ranks.jsonl_eval") / "retrieval.json"
    assert main.main(["compare", str(tmp_path / "ours.json"), str(theirs)]) == 0
    # the lines beside a result are such a file themselves
    own = report.examples_path(tmp_path / "ours.json")
    assert run(dataset, f"--predictions={own}") == 0
    assert read(own)[0]["metrics"] == told


@pytest.mark.parametrize("direction", retrieval.DIRECTIONS)
def test_an_array_of_ranks_is_of_one_direction(dataset, result, tmp_path, direction):
    order = np.random.default_rng(0).permutation(30).tolist()
    ranks = [result.examples[i][f"{direction}_rank"] for i in order]
    np.save(tmp_path / "ranks.npy", ranks)
    ids = write_lines(tmp_path / "ids.jsonl", order)
    flags = [f"--predictions={tmp_path / 'ranks.npy'}", f"--direction={direction}"]
    assert run(dataset, *flags, f"--ids={ids}") == 0
    metrics = read(tmp_path / "ranks.npy")[0]["metrics"]
    assert metrics == {
        k: v for k, v in result.metrics.items() if k.startswith(direction) and "_same_" not in k
    }
    assert run(dataset, *flags) == 0  # in the order of the dataset: the same ranks of others
    assert read(tmp_path / "ranks.npy")[0]["metrics"] == metrics
    with pytest.raises(EvaluationError, match="30 ranks, --direction=None; .*30 examples"):
        run(dataset, flags[0])
    with pytest.raises(EvaluationError, match="dual_softmax is of similarities, and these are"):
        run(dataset, *flags, "--normalization=dual_softmax")
    for wrong, message in (
        (ranks[:29], "29 ranks, .*expected one of each of the 30"),
        ([0.5, *ranks[1:]], "1 of the 30 ranks are none among 30 candidates, the first is 0.5"),
        ([np.nan, 31, *ranks[2:]], "2 of the 30 ranks .* the first is nan; expected .*1 to 30"),
    ):
        np.save(tmp_path / "ranks.npy", wrong)
        with pytest.raises(EvaluationError, match=message):
            run(dataset, *flags)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: [], "line 1: '' is not JSON"),
        (lambda told: told[:-1], r"1 of the 30 .* are not there"),
        (lambda told: [*told, told[3]], "is named twice"),
        (lambda told: [told[0] | {"example_id": 30}, *told[1:]], "line 1: example_id 30; expected"),
        (lambda told: [told[0] | {"video": "x"}, *told[1:]], "line 1: video of example .* is 'x'"),
        (
            lambda told: [{"example_id": of["example_id"]} for of in told],
            "no line has text_to_video",
        ),
        (
            lambda told: [{"example_id": told[0]["example_id"]}, *told[1:]],
            "line 1: text_to_video_rank is None; expected the rank",
        ),
        (
            lambda told: [told[0] | {"video_to_text_rank": True}, *told[1:]],
            "line 1: video_to_text_rank is True",
        ),
        (
            lambda told: [*told[:-1], told[-1] | {"text_to_video_rank": 31}],
            "the first is 31; expec",
        ),
    ],
)
def test_ranks_that_do_not_fit_are_named(dataset, result, tmp_path, change, message):
    file = write_lines(tmp_path / "ranks.jsonl", change(of_ranks(result)))
    with pytest.raises(EvaluationError, match=message):
        run(dataset, f"--predictions={file}")


def test_files_and_flags_that_do_not_fit_are_named(dataset, cosines):
    flag = f"--predictions={cosines}"
    for flags, message in (
        ([f"{flag}x"], "no such file"),
        ([flag, "--task=fill_mask"], "predictions are scored of retrieval"),
        ([flag, "--limit=3"], "all of a split; found .*--limit"),
        ([flag, "--split=test,validation"], "one task on one split"),
        ([flag, "--direction=text_to_video"], "--direction=text_to_video: ids and directions"),
    ):
        with pytest.raises(EvaluationError, match=message):
            run(dataset, *flags)
    scores = np.load(cosines)
    for wrong, message in (
        (scores[:, :29], r"shape \(30, 29\); .* has 30 examples"),
        (scores.astype(str), "expected numbers"),
        (scores[None], r"\(1, 30, 30\); expected numbers"),
        (np.where(scores == scores.max(), np.nan, scores), "1 of 900 scores are not finite"),
    ):
        np.save(cosines, wrong)
        with pytest.raises(EvaluationError, match=message):
            run(dataset, flag)
    with pytest.raises(EvaluationError, match="name those too"):
        parser = argparse.ArgumentParser()
        evaluate.add_arguments(parser)
        evaluate.run(parser.parse_args(["--checkpoint=x", "--ids=y"]))
