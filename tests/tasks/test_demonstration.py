"""VideoBERT's demonstrations against the network asked by hand and words found by brute force."""

import argparse
import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.conftest import DIM
from videobert_jax import loading, schema
from videobert_jax.cli import demonstrate
from videobert_jax.data import writer
from videobert_jax.inference import demonstration, demonstration_picture
from videobert_jax.inference.demonstration import Clips, Question
from videobert_jax.inference.demonstration_picture import Row, Section, Told
from videobert_jax.inference.model import InputError, PretrainedModel
from videobert_jax.models.config import VisualWordsConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.training import hardware

BRANCHING, DEPTH = 3, 2


@pytest.fixture(scope="module")
def wordy(bundle):
    """The small bundle with a head that tells nine visual words."""
    config = dataclasses.replace(
        bundle.config,
        masked_video_head="visual_words",
        visual_words=VisualWordsConfig(branching=BRANCHING, depth=DEPTH),
    )
    shape = schema.RowShape(1, 8, 4, 1, 1, DIM, 0, 1, 0, 0)
    variables = jax.jit(VideoBert(config).init)(jax.random.key(0), schema.zero_block(shape, 1))
    variables = jax.tree.map(np.asarray, jax.device_get(nn.unbox(variables)))
    random = np.random.default_rng(0)
    head = variables["constants"]["masked_video_head"]
    for name, value in head.items():
        head[name] = random.normal(size=value.shape).astype(np.float32)
    return dataclasses.replace(bundle, config=config, variables=variables)


@pytest.fixture(scope="module")
def model(wordy):
    return PretrainedModel(wordy)


@pytest.fixture(scope="module")
def clips(dataset):
    return demonstrate.clips_of(dataset.split("train"))


def by_hand(bundle, features, hidden, ids):
    """Cosines [v, w] of one example without any padding."""
    model = VideoBert(bundle.config)
    places = [jnp.arange(n, dtype=jnp.int32)[None] for n in (len(ids), len(features))]

    def told(network):
        texts, videos = (jnp.ones_like(place) for place in places)
        text = network.encode_text(jnp.asarray([ids], jnp.int32), texts, places[0])
        shown = jnp.asarray(np.where(hidden[:, None], 0.0, features), jnp.float32)[None]
        video = network.encode_video(shown, videos, places[1], jnp.asarray(hidden)[None])
        _, fused = network.fuse(text, texts, video, videos)
        return network.video_predictions(fused)

    variables = jax.tree.map(jnp.asarray, bundle.variables)
    return np.asarray(jax.jit(lambda: model.apply(variables, method=told))()[0])


@pytest.mark.long
def test_hidden_clips_are_told_from_the_text_and_the_clips_that_are_shown(model, wordy):
    random = np.random.default_rng(1)
    features = random.normal(size=(2, 4, DIM)).astype(np.float32)
    hidden = np.array([[False, True, True, False], [True, True, False, True]])
    given = np.where(hidden[..., None], np.nan, features)
    texts = ["now chop the onion", "stir"]
    told = model.visual_words([given[0], given[1][:3]], texts)
    assert told.shape == (2, 4, BRANCHING**DEPTH)
    for row, length in enumerate((4, 3)):
        ids = model.tokenize(texts[row])[0]
        expected = by_hand(wordy, features[row][:length], hidden[row][:length], ids)
        np.testing.assert_allclose(told[row, :length], expected[:, : BRANCHING**DEPTH], atol=1e-5)
    alone = model.visual_words(given[0], texts[0])
    np.testing.assert_allclose(alone[0], told[0], atol=1e-5)
    blind = model.visual_words(list(given))
    assert np.abs(blind[0] - told[0]).max() > 1e-3  # the text says something


def test_networks_that_tell_no_words_and_damaged_clips_are_refused(bundle, model):
    with pytest.raises(InputError, match="masked video head is 'nce'"):
        PretrainedModel(bundle).visual_words(np.zeros((1, 2, DIM), np.float32))
    with pytest.raises(InputError, match="kitchen_visual_words.py"):
        demonstration.tree(bundle)
    partly = np.zeros((1, 2, DIM), np.float32)
    partly[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        model.visual_words(partly)


def test_words_have_their_nearest_clips_one_a_video(wordy, clips):
    words = demonstration.tree(wordy)
    centred = clips.features - words.centre
    found = demonstration.nearest_clips(words, clips)
    assert len(found) == words.num_words
    everyone: dict[int, dict[int, tuple[float, int]]] = {n: {} for n in range(words.num_words)}
    for clip, point in enumerate(centred):
        node = 0
        for level in words.levels:
            children = level[node * BRANCHING : (node + 1) * BRANCHING]
            distances = ((children - point) ** 2).sum(axis=1)
            node = node * BRANCHING + int(distances.argmin())
        best = everyone[node].setdefault(int(clips.videos[clip]), (np.inf, -1))
        everyone[node][int(clips.videos[clip])] = min(best, (float(distances.min()), clip))
    for word, of_videos in everyone.items():
        assert found[word].tolist() == [clip for _, clip in sorted(of_videos.values())]


def test_likeliest_words_have_the_greatest_mean_over_the_clips_that_are_told(model, clips):
    asked = [
        Question("now chop the onion", np.zeros((0, DIM), np.float32), 2, {}),
        Question("pour the oil", clips.features[:2], 1, {}),
    ]
    present = [number % 4 != 1 for number in range(BRANCHING**DEPTH)]
    told = demonstration.told_words(model, asked, present)
    nothing = np.full((2, DIM), np.nan, np.float32)
    videos = [nothing, np.concatenate([clips.features[:2], nothing[:1]])]
    cosines = model.visual_words(videos, [q.text for q in asked])
    for row, places in enumerate(([0, 1], [2])):
        means = {w: cosines[row][places, w].mean() for w, there in enumerate(present) if there}
        assert told[row].tolist() == sorted(means, key=lambda w: -means[w])[: demonstration.TOLD]


def test_of_long_videos_the_last_clips_are_shown_and_as_many_told_as_there_is_room_for(model):
    longest = model.maximum_clips
    clips = np.random.default_rng(2).normal(size=(longest + 3, DIM)).astype(np.float32)
    present = [True] * BRANCHING**DEPTH
    asked = [Question("", shown, 1, {}) for shown in (clips, clips[4:], clips[: longest - 1])]
    all_of, last, first = demonstration.told_words(model, asked, present).tolist()
    assert all_of == last != first
    many = [Question("stir", clips[:0], longest + more, {}) for more in (0, 2)]
    told = demonstration.told_words(model, many, present)
    assert told[0].tolist() == told[1].tolist()


def test_the_sheet_is_as_wide_as_its_widest_row():
    pytest.importorskip("matplotlib")
    frame = np.zeros((2, 2, 3), np.uint8)

    def width(*numbers: int) -> int:
        rows = [Row("cut", [[frame] * n], [[Told(frame, "all")]]) for n in numbers]
        section = Section("title", "about", ["what is shown", "word 1"], rows)
        png = demonstration_picture.draw("title", "subtitle", [section])
        return int.from_bytes(png[16:20], "big")

    assert width(1, 4) == width(4, 1) == width(4) > width(1) + 200


def test_agreement_is_counted_question_by_question():
    labels = {
        "verb": np.array(["cut", "cut", "stir", ""]),
        "object": np.array(["egg", "oil", "egg", "oil"]),
    }
    clips = Clips(np.zeros((4, 2)), np.arange(4), np.zeros(4, int), labels)
    nearest = [np.array([0, 1]), np.array([2]), np.array([3])]
    none = np.zeros((0, 2), np.float32)
    asked = [
        Question("", none, 1, {"verb": "cut", "object": "oil"}),
        Question("", none, 1, {"verb": "stir", "object": "egg"}),
        Question("", none, 1, {"verb": "cut"}),
    ]
    found = demonstration.agreement(asked, np.array([[0, 1], [1, 0], [2, 0]]), nearest, clips)
    # the clips are (cut, egg), (stir, egg) and (, oil)
    assert found["verb"]["nearest_clip"] == pytest.approx(2 / 3)
    assert found["verb"]["chance"] == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    assert found["object"] == {"nearest_clip": 0.5, "chance": 0.5, "num_questions": 2}
    assert found["all"]["nearest_clip"] == pytest.approx(1 / 3)
    assert found["all"]["chance"] == pytest.approx((0.25 + 0.25 + 0.5) / 3)


def run(*flags: str) -> int:
    parser = argparse.ArgumentParser()
    demonstrate.add_arguments(parser)
    return demonstrate.run(parser.parse_args(["--checkpoint=run", *flags, "--platform=cpu"]))


def test_the_command_says_figures_and_draws_the_kitchen_alone(
    wordy, dataset, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(loading, "load_bundle", lambda name: wordy)
    flags = (f"--dataset={dataset.path}", "--clips=train")
    assert run(*flags, f"--json={tmp_path / 'out.json'}") == 0
    record = json.loads((tmp_path / "out.json").read_text())
    counts = {name: of["verb"]["num_questions"] for name, of in record.items()}
    assert counts == {"text_to_video": 30, "future_prediction": 24}  # the last step has no next one
    printed = capsys.readouterr().out
    for name, of in record.items():
        assert f"{name}: of {counts[name]} questions" in printed
        assert f"verb {100 * of['verb']['nearest_clip']:.1f} % (by chance" in printed
    with pytest.raises(demonstrate.DemonstrationError, match="draws clips of the kitchen alone"):
        run(*flags, f"--output={tmp_path / 'a.png'}")
    bare = dataclasses.replace(dataset.split("train"), labels={})
    without = dataclasses.replace(dataset, splits={**dataset.splits, "train": bare})
    monkeypatch.setattr("videobert_jax.data.index.open_dataset", lambda path: without)
    with pytest.raises(demonstrate.DemonstrationError, match="both need the same kinds"):
        run(*flags)


def test_a_demonstration_without_questions_is_left_out_and_none_at_all_is_an_error(
    wordy, dataset, tmp_path, monkeypatch, capsys
):
    out = writer.DatasetWriter(tmp_path / "single", "single", dataset.contract)
    features = np.random.default_rng(3).normal(size=(6, 2, DIM)).astype(np.float16)
    for number, clips in enumerate(features):
        split, text = ("test" if number < 3 else "silent"), ("" if number >= 3 else "cut it")
        segment = writer.Segment(0.0, 2.0, text, {"verb": "cut"})
        out.add_video(split, f"video {number}", clips, [segment])
    single = out.finish()
    monkeypatch.setattr(loading, "load_bundle", lambda name: wordy)
    flags, json_file = (f"--dataset={single.path}", "--clips=test"), tmp_path / "out.json"
    assert run(*flags, f"--json={json_file}") == 0
    assert json.loads(json_file.read_text()).keys() == {"text_to_video"}
    assert "future_prediction: split 'test' has no two steps" in capsys.readouterr().out
    with pytest.raises(demonstrate.DemonstrationError, match="caption.*choose another with --spl"):
        run(*flags, "--split=silent")


def test_devices_are_started_before_the_network_is_loaded(monkeypatch):
    calls = []

    def load(name: str):
        calls.append(name)
        raise InputError("enough")

    monkeypatch.setattr(hardware, "start", calls.append)
    monkeypatch.setattr(loading, "load_bundle", load)
    with pytest.raises(InputError, match="enough"):
        run()
    assert calls == ["cpu", "run"]


def test_videos_of_the_kitchens_datasets_are_drawn(wordy, dataset, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    out = writer.DatasetWriter(tmp_path / "drawn", "kitchen_captions", dataset.contract)
    random = np.random.default_rng(4)
    for number, steps in enumerate((2, 1, 0)):
        clips = random.normal(size=(4, DIM)).astype(np.float16)
        said = [
            writer.Segment(2.0 * n, 2.0 * n + 2, "cut it", {"verb": "cut"}) for n in range(steps)
        ]
        out.add_video("test", f"kitchen_{number:04d}", clips, said)
    flags = (f"--dataset={out.finish().path}", "--clips=test", f"--output={tmp_path / 'a.png'}")
    monkeypatch.setattr(loading, "load_bundle", lambda name: wordy)
    heights = []
    for number in (0, 1):
        assert run(*flags, f"--video=kitchen_{number:04d}") == 0
        png = (tmp_path / "a.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        heights.append(int.from_bytes(png[20:24], "big"))
    assert heights[0] > heights[1] + 200  # a section more, and a row more
    assert "future_prediction: no question is about kitchen_0001; not dr" in capsys.readouterr().out
    with pytest.raises(demonstrate.DemonstrationError, match="no question is about it"):
        run(*flags, "--video=kitchen_0002")
