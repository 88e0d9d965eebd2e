"""Commands that use a trained model print what the model says, and a line where they cannot."""

import dataclasses
import html
import json

import numpy as np
import pytest

import videobert_jax
from tests import bundles, colours, fakes
from videobert_jax.cli import main
from videobert_jax.export import safetensors
from videobert_jax.video import decode
from videobert_jax.weights import backbones

ANSWERS = ("pan", "bowl", "board")
STEPS = ["cut the onion", "pour the milk"]


@pytest.fixture(scope="module")
def export(tiny_run, tmp_path_factory):
    """A network with a decoder and an answer head, trained on the kitchen as it says."""
    data = dataclasses.replace(tiny_run.data, target_length=8)
    network = dataclasses.replace(tiny_run.model, answers=len(ANSWERS))
    made = bundles.tiny(dataclasses.replace(tiny_run, model=network, data=data))
    made = dataclasses.replace(
        made,
        contract=colours.CONTRACT,
        answers=ANSWERS,
        trained_on={
            "datasets": [{"name": "kitchen", "split": "train", "digest": "0" * 64}],
            "video_names": ["kitchen_0001"],
        },
    )
    folder = tmp_path_factory.mktemp("model") / "export"
    safetensors.save_bundle(made, folder)
    return folder


@pytest.fixture(scope="module")
def model(export):
    return videobert_jax.load(export)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """Two videos' clip features; the first is longer than a window."""
    folder = tmp_path_factory.mktemp("features")
    (folder / "contract.json").write_text(json.dumps(colours.CONTRACT.to_json()))
    generator = np.random.default_rng(0)
    for name, clips in (("a", 12), ("b", 5)):
        np.save(folder / f"{name}.npy", generator.normal(size=(clips, fakes.FEATURE_DIM)))
    return [str(folder / "a.npy"), str(folder / "b.npy")]


@pytest.fixture
def say(export, capsys):
    """Runs a command; gives its code, what it printed, and what it said of failures."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main.main([*words, f"--checkpoint={export}", "--platform=cpu"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_embed_writes_the_models_vectors(model, files, say, tmp_path):
    code, out, _ = say("embed", *files, f"--output={tmp_path}/v/vectors.npz")
    assert code == 0 and out == f"{tmp_path}/v/vectors.npz\n"
    written = np.load(tmp_path / "v" / "vectors.npz")
    assert written["files"].tolist() == files
    np.testing.assert_allclose(written["vectors"], model.encode_video(files), atol=1e-5)
    lines = json_lines(say("embed", *files, "--json")[1])
    np.testing.assert_allclose([line["vector"] for line in lines], written["vectors"], atol=1e-6)
    code, _, err = say("embed", *files)
    assert code == 2 and "say --output=VECTORS.npz, or --json" in err


@pytest.mark.long
def test_answer_prints_the_likeliest_first(model, files, say):
    question = ["--question=what do we cut"]
    code, out, _ = say("answer", *files, *question, "--json")
    expected = model.answer(files, ["what do we cut"] * 2)
    lines = json_lines(out)
    assert code == 0 and [line["file"] for line in lines] == files
    for line, told in zip(lines, expected, strict=True):
        assert line["answer"] == told.text
        assert line["probabilities"] == pytest.approx(told.probabilities, abs=1e-5)
    chosen = say("answer", files[1], *question, "--choice=onion", "--choice=milk")[1]
    (told,) = model.answer(files[1], "what do we cut", ["onion", "milk"])
    listed = ", ".join(f"{text} {share:.2f}" for text, share in told.probabilities.items())
    assert chosen == f"{files[1]}: {listed}\n"


def test_localize_prints_a_second_a_step(model, files, say, tmp_path):
    given = [f"--step={step}" for step in STEPS]
    (expected,) = model.localize(files[0], STEPS)
    (line,) = json_lines(say("localize", files[0], *given, "--json")[1])
    assert [row["second"] for row in line["steps"]] == expected.seconds.tolist()
    assert [row["step"] for row in line["steps"]] == STEPS
    (tmp_path / "steps.txt").write_text("\n".join([STEPS[1], "", STEPS[0]]))
    code, out, _ = say("localize", files[0], f"--steps={tmp_path}/steps.txt", "--unordered")
    (alone,) = model.localize(files[0], STEPS[::-1], ordered=False)
    rows = [row.split() for row in out.splitlines()]
    assert code == 0 and rows[0] == [files[0]]
    assert [row[0] for row in rows[1:]] == [f"0:{second:02d}" for second in alone.seconds]
    assert [" ".join(row[2:]) for row in rows[1:]] == STEPS[::-1]


def test_fill_mask_with_and_without_video(model, files, say):
    text = "now [MASK] the [MASK]"
    lines = json_lines(say("fill-mask", *files, f"--text={text}", "--top-k=3", "--json")[1])
    for line, told in zip(lines, model.fill_mask([text] * 2, files, top_k=3), strict=True):
        assert [[of["word"] for of in mask] for mask in line["masks"]] == [
            [of.word for of in mask] for mask in told
        ]
    out = say("fill-mask", f"--text={text}", "--top-k=1")[1].splitlines()
    ((first, second),) = model.fill_mask(text, top_k=1)
    assert out == ["without video"] + [
        f"  [MASK] {number}: {of.word} {of.probability:.2f}"
        for number, (of,) in enumerate((first, second), start=1)
    ]


@pytest.mark.long
def test_caption_writes_timed_segments(model, files, say, tmp_path):
    options = ["--num-beams=1", "--segment-seconds=5"]
    told = model.caption_segments(files[0], seconds=5, num_beams=1)
    assert [(of.start, of.end) for of in told] == [(0, 5), (5, 10), (10, 12)]
    shown = [of for of in told if of.text.strip()]
    assert shown
    for form in ("vtt", "srt"):
        code, out, _ = say("caption", *files, f"--format={form}", f"--output={tmp_path}", *options)
        assert code == 0 and out.split() == [f"{tmp_path}/a.{form}", f"{tmp_path}/b.{form}"]
        text = (tmp_path / f"a.{form}").read_text().strip()
        written = [block.split("\n") for block in text.split("\n\n")]
        if form == "srt":
            assert [int(block.pop(0)) for block in written] == list(range(1, len(shown) + 1))
        else:
            assert written.pop(0) == ["WEBVTT - sentences"]
        point = "," if form == "srt" else "."
        for (line, text), of in zip(written, shown, strict=True):
            assert line == f"00:00:{of.start:02.0f}{point}000 --> 00:00:{of.end:02.0f}{point}000"
            assert html.unescape(text).split() == of.text.split()
    (line,) = json_lines(say("caption", files[0], "--format=json", *options)[1])
    assert line["captions"] == [of._asdict() for of in told]
    out = say("caption", files[0], "--num-beams=1")[1]
    assert out == model.caption(files[0], num_beams=1)[0] + "\n"
    (tmp_path / "times.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:04.000\nx\n")
    (line,) = json_lines(
        say("caption", files[1], "--format=json", f"--times={tmp_path}/times.vtt", *options)[1]
    )
    expected = model.caption_segments(files[1], [(1.0, 4.0)], num_beams=1)
    assert line["captions"] == [of._asdict() for of in expected]


def test_a_transcript_is_read_segment_by_segment(model, files, say, tmp_path):
    said = "WEBVTT\n\n00:01.000 --> 00:02.000\ncut it\n\n00:05.000 --> 00:09.000\nstir it\n"
    (tmp_path / "said.vtt").write_text(said)
    words = ["--format=json", "--num-beams=1", f"--transcript={tmp_path}/said.vtt"]
    (line,) = json_lines(say("caption", files[0], *words, "--segment-seconds=6")[1])
    expected = model.caption_segments(
        files[0], seconds=6, transcripts=["cut it", "stir it"], num_beams=1
    )
    assert line["captions"] == [of._asdict() for of in expected]
    code, _, err = say("caption", files[0], *words, "--segment-seconds=3")
    assert code == 2 and "nothing is said from 3 to 6 s; say longer" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["caption", "A", "B", "--format=vtt"], "2 FILEs as vtt; say --output=FOLDER"),
        (["caption", "A", "B", "--times=x.vtt"], "--times and --transcript are of one FILE"),
        (["caption", "A", "--times=x.vtt"], "say --format=vtt"),
        (["caption", "A", "A", "--format=srt", "--output=x"], "two FILEs have one name"),
        (["caption", "A", "--num-beams=0"], "beams=0"),
        (["localize", "A"], "no steps to look for"),
        (["localize", "A", "--steps=none.txt"], "none.txt: cannot be read"),
        (["localize", "B", *["--step=cut"] * 9], "9 steps cannot be put in order into the 5 sec"),
        (["fill-mask", "A", "--text=cut it"], "expected a [MASK]"),
        (["fill-mask", "A", f"--text={'cut ' * 10_000}[MASK]"], "pieces; expected 30 at most"),
        (["answer", "A", f"--question={'cut ' * 10_000}"], "cut it with truncate=True"),
        (["answer", "A", "--question= "], "text 0 is ' '; expected words"),
        (["embed", "none.mp4", "--json"], "none.mp4 is not there"),
        (["embed", "none.npy", "--json"], "none.npy is not there"),
    ],
)
def test_a_bad_input_is_one_line(files, say, words, message):
    given = {"A": files[0], "B": files[1]}
    code, _, err = say(*[given.get(word, word) for word in words])
    lines = [line for line in err.splitlines() if not line.startswith("devices:")]
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    assert message in lines[0]


def test_a_long_text_can_be_cut_and_a_strange_script_is_noticed(files, say):
    question = f"--question={'cut ' * 10_000}"
    assert say("answer", files[1], question, "--truncate")[0] == 0
    code, _, err = say("answer", files[1], "--question=\u5305\u4e01\u89e3\u725b")
    assert code == 0 and "warning: text 0, " in err and "another script or language" in err


def test_a_folder_that_is_no_model_is_one_line(files, tmp_path, capsys):
    code = main.main(["embed", files[0], "--json", f"--checkpoint={tmp_path}", "--platform=cpu"])
    assert code == 2 and "found neither in this folder" in capsys.readouterr().err


def test_a_video_file_is_extracted_with_a_word_about_the_kitchen(model, say, tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV is not installed")
    monkeypatch.setattr(backbones, "of_contract", colours.of_contract)
    movie, tones = tmp_path / "film.mp4", np.random.default_rng(0).integers(0, 256, (4, 1, 1, 3))
    pixels = np.broadcast_to(np.repeat(tones, 8, axis=0).astype(np.uint8), (32, 32, 32, 3))
    decode.write_frames(movie, np.ascontiguousarray(pixels), 8)
    code, out, err = say("embed", str(movie), "--json")
    assert code == 0 and len(json_lines(out)[0]["vector"]) == 16
    assert "warning: tiny was trained on the embedded kitchen alone" in err
    code, _, err = say("embed", str(movie), "--json", "--max-seconds=3")
    assert code == 2 and "film.mp4 lasts 4 s or more; expected 3 s at most" in err
