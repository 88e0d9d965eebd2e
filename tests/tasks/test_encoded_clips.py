"""States in files against the network's own methods on the clips of one window, without padding."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks import conftest
from videobert_jax.data import clip_stream
from videobert_jax.models.videobert import VideoBert
from videobert_jax.tasks import encoded_clips
from videobert_jax.tasks.encoded_clips import EncodedClips, Settings
from videobert_jax.tasks.encoding import ModelRunner
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.text import templates

TEMPLATE = "now [MASK] the [MASK], then {verb} it"


@pytest.fixture(scope="module")
def runner(bundle):
    return ModelRunner(bundle)


@pytest.fixture(scope="module")
def features(dataset) -> list[np.ndarray]:
    """Clip features of each video of the test split."""
    split = dataset.split("test")
    return [next(clip_stream.clip_features(split, np.array([v]))) for v in range(6)]


@functools.cache
def applied(config, method):
    model = VideoBert(dataclasses.replace(config, attention="dense"))
    return jax.jit(functools.partial(model.apply, method=method))


def fused(bundle, clips, ids, reads: bool) -> tuple[np.ndarray, np.ndarray]:
    """(states of the pieces, states of the clips) of one example, whose clips read the text."""
    places = lambda n: jnp.arange(n, dtype=jnp.int32)[None]  # noqa: E731
    ones = lambda n: jnp.ones((1, n), jnp.int32)  # noqa: E731
    count, length = len(clips), len(ids)
    nothing = jnp.zeros((1, count), bool)
    inputs = jnp.asarray(clips)[None], ones(count), places(count), nothing
    video = applied(bundle.config, "encode_video")(bundle.variables, *inputs)
    inputs = jnp.asarray(ids, jnp.int32)[None], ones(length), places(length)
    text = applied(bundle.config, "encode_text")(bundle.variables, *inputs)
    sides = text, ones(length) * reads, video, ones(count)
    found = applied(bundle.config, "fuse")(bundle.variables, *sides)
    return np.asarray(found[0][0]), np.asarray(found[1][0])


def test_a_segment_has_the_states_of_its_clips_alone(runner, bundle, dataset, features, tmp_path):
    split = dataset.split("test")
    encoded = EncodedClips(runner, dataset, [split], Settings("segment"))
    assert encoded.write(tmp_path) == [] and len(encoded.files) == len(split)
    said = runner.tokenizer.encode(["the clips read nothing of this"])[0]
    for example in (0, 7, 29):
        video, first = int(split.video[example]), int(split.first_clip[example])
        clips = features[video][first : first + int(split.clip_count[example])]
        found = np.load(tmp_path / f"test_{video}_{example - 5 * video:04}.npy")
        _, expected = fused(bundle, clips, said, False)
        np.testing.assert_allclose(found, expected, atol=2e-2, rtol=1e-3)  # float16
        assert found.dtype == np.float16 and np.ptp(expected, axis=0).max() > 0.05
    line = json.loads((tmp_path / "files.jsonl").read_text().splitlines()[7])
    assert line["file"] == "test_1_0002.npy" and line["video"] == "test_1"
    (segment,) = line["segments"]
    assert (line["start"], line["num_clips"]) == (split.start[7], segment["num_rows"])
    assert segment["text"] == split.texts([7])[0] and segment["first_row"] == 0


@pytest.mark.long
def test_clips_of_whole_videos_are_told_in_windows(runner, bundle, dataset, features, tmp_path):
    split = dataset.split("test")
    EncodedClips(runner, dataset, [split], Settings(window=5)).write(tmp_path)
    for video in (0, 3):
        clips, found = features[video], np.load(tmp_path / f"test_{video}.npy")
        assert len(found) == len(clips) > 5
        for clip in range(len(clips)):
            begin = min(max(clip - 2, 0), len(clips) - 5)
            _, expected = fused(bundle, clips[begin : begin + 5], [2, 3], False)
            np.testing.assert_allclose(found[clip], expected[clip - begin], atol=2e-2, rtol=1e-3)
    line = json.loads((tmp_path / "files.jsonl").read_text().splitlines()[3])
    assert (line["start"], line["end"]) == (0.0, len(features[3]))
    rows = [(of["first_row"], of["num_rows"]) for of in line["segments"]]
    assert rows == list(zip(split.first_clip[15:20], split.clip_count[15:20], strict=True))


def test_a_template_is_read_and_its_masks_stand_behind_each_clip(
    runner, bundle, dataset, features, tmp_path
):
    split, tokenizer = dataset.split("test"), runner.tokenizer
    encoded = EncodedClips(runner, dataset, [split], Settings("segment", TEMPLATE))
    encoded.write(tmp_path)
    (now, the, comma, then, it) = tokenizer.encode(["now", "the", "a,", "then", "it"])
    mask = [tokenizer.mask_id]
    comma = comma[len(tokenizer.encode(["a"])[0]) :]
    ids = [tokenizer.cls_id, *now, *mask, *the, *mask, *comma, *then, *mask, *it, tokenizer.sep_id]
    assert encoded.sentence == ids == templates.masked(TEMPLATE, tokenizer)
    clips = features[0][: int(split.clip_count[0])]
    pieces, states = fused(bundle, clips, ids, True)
    of_masks = pieces[np.array(ids) == tokenizer.mask_id].mean(0)
    expected = np.concatenate([states, np.repeat(of_masks[None], len(clips), 0)], axis=1)
    found = np.load(tmp_path / "test_0_0000.npy")
    np.testing.assert_allclose(found, expected, atol=2e-2, rtol=1e-3)
    width = bundle.config.embed_dim
    about = json.loads((tmp_path / "encoding.json").read_text())
    assert about["columns"] == {"clip": [0, width], "mean_of_masks": [width, 2 * width]}
    assert about["template"] == TEMPLATE and about["checkpoint"]["digest"] == bundle.digest
    assert encoded.contract.dim == 2 * width


def test_the_second_start_writes_nothing_and_a_stopped_one_goes_on(
    runner, dataset, tmp_path, monkeypatch, capsys
):
    split = dataset.split("test")
    monkeypatch.setattr(encoded_clips, "_CLIPS_AT_A_TIME", 20)
    encoded = EncodedClips(runner, dataset, [split], Settings())
    encoded.write(tmp_path)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    asked = []
    original = ModelRunner.clip_states

    def noted(*arguments):
        asked.append(len(arguments[1]))
        return original(*arguments)

    monkeypatch.setattr(ModelRunner, "clip_states", noted)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert len(written) == 6 and encoded.write(tmp_path) == [] and asked == []
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert "6 of 6 files are there already" in capsys.readouterr().err
    (tmp_path / "test_4.npy").unlink()
    assert encoded.write(tmp_path) == [] and asked
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole
    assert (tmp_path / "test_3.npy").stat().st_mtime_ns == written[tmp_path / "test_3.npy"]


def test_states_that_were_made_otherwise_are_not_mixed(runner, bundle, dataset, tmp_path):
    split = dataset.split("validation")
    EncodedClips(runner, dataset, [split], Settings()).write(tmp_path / "a")
    for settings, name in ((Settings(window=3), "window_clips"), (Settings("segment"), "unit")):
        with pytest.raises(EvaluationError, match=f"otherwise: .*{name}=.*another --output"):
            EncodedClips(runner, dataset, [split], settings).write(tmp_path / "a")
    other = ModelRunner(dataclasses.replace(bundle, digest="1" * 64))
    with pytest.raises(EvaluationError, match="checkpoint="):
        EncodedClips(other, dataset, [split], Settings()).write(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(EvaluationError, match="holds something else"):
        EncodedClips(runner, dataset, [split], Settings()).write(tmp_path / "b")
    assert len(list((tmp_path / "b").iterdir())) == 1


def test_settings_that_the_network_cannot_take_are_named(runner, dataset):
    split = dataset.split("test")
    with pytest.raises(EvaluationError, match="--window=9 clips; tiny reads 1 to 8"):
        EncodedClips(runner, dataset, [split], Settings(window=9))
    with pytest.raises(templates.TemplateError, match="no \\[MASK\\]"):
        EncodedClips(runner, dataset, [split], Settings(template="cut the onion"))
    with pytest.raises(templates.TemplateError, match="pieces; tiny reads 32 at most"):
        EncodedClips(runner, dataset, [split], Settings(template="[MASK] it " * 20))
    videos = ["a/b", *split.videos[1:]]
    with pytest.raises(EvaluationError, match="'a/b' cannot name a file"):
        EncodedClips(runner, dataset, [dataclasses.replace(split, videos=videos)], Settings())
    bare = dataclasses.replace(split, num_clips=np.zeros_like(split.num_clips))
    with pytest.raises(EvaluationError, match="no clips to encode"):
        EncodedClips(runner, dataset, [bare], Settings())


def test_states_beyond_float16_are_refused(bundle, dataset, tmp_path):
    params = bundle.variables["params"]
    norm = {"scale": np.full(bundle.config.embed_dim, 1e6, np.float32), "bias": np.zeros(32, "f4")}
    params = {**params, "cross_encoder": {**params["cross_encoder"], "video_norm": norm}}
    variables = {**bundle.variables, "params": params}
    wrong = ModelRunner(dataclasses.replace(bundle, variables=variables))
    with pytest.raises(EvaluationError, match="NaN or beyond float16"):
        EncodedClips(wrong, dataset, [dataset.split("test")], Settings()).write(tmp_path)


def test_damaged_videos_are_named_and_the_others_written(runner, tmp_path):
    dataset = conftest.write_dataset(tmp_path / "damaged", damaged=True, absent=False)
    output, split = tmp_path / "out", dataset.split("test")
    encoded = EncodedClips(runner, dataset, [split], Settings())
    (failure,) = encoded.write(output)
    assert failure["video"] == "test_2" and "NaN" in failure["reason"]
    assert json.loads((output / "failures.jsonl").read_text()) == failure
    assert len(list(output.glob("*.npy"))) == 5 and not (output / "test_2.npy").exists()
    absent = conftest.write_dataset(tmp_path / "absent", absent=True)
    assert (
        len(EncodedClips(runner, absent, [absent.split("test")], Settings("segment")).files) == 25
    )


def test_several_splits_are_one_folder_and_a_video_of_two_is_written_once(
    runner, dataset, tmp_path
):
    split, other = dataset.split("test"), dataset.split("validation")
    again = dataclasses.replace(split)  # as a split of retrieval has the videos of another one
    encoded = EncodedClips(runner, dataset, [split, other, again], Settings())
    encoded.write(tmp_path / "all")
    EncodedClips(runner, dataset, [other], Settings()).write(tmp_path / "one")
    names = {path.name for path in (tmp_path / "all").glob("*.npy")}
    assert names == {f"{name}.npy" for name in (*split.videos, *other.videos)}
    for path in (tmp_path / "one").glob("*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(tmp_path / "all" / path.name))
    lines = map(json.loads, (tmp_path / "all" / "files.jsonl").read_text().splitlines())
    told = [(line["split"], line["file"]) for line in lines]
    assert len(told) == 6 + 4 + 6 and told.count(("test", "test_5.npy")) == 2
    with pytest.raises(EvaluationError, match="'test' and 'test' both have segments"):
        EncodedClips(runner, dataset, [split, again], Settings("segment"))
