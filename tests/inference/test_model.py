import dataclasses
import functools
import pathlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import videobert_jax
from tests import bundles, fakes
from videobert_jax import schema
from videobert_jax.export import safetensors
from videobert_jax.inference import inputs, rows
from videobert_jax.inference import model as inference
from videobert_jax.inference.inputs import InputWarning
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.videobert import VideoBert

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def bundle(tiny_run) -> ModelBundle:
    return bundles.tiny(tiny_run)


@pytest.fixture(scope="module")
def model(bundle: ModelBundle, tmp_path_factory) -> inference.PretrainedModel:
    folder: pathlib.Path = tmp_path_factory.mktemp("export") / "export"
    safetensors.save_bundle(bundle, folder)
    return videobert_jax.load(folder)


TEXTS = list(bundles.CAPTIONS)


@pytest.fixture(scope="module")
def packed(model, bundle, videos) -> dict[str, np.ndarray]:
    """What the network of the training makes of the four pairs in one row, its layers unexported.

    A row of training packs examples one after another: another layout than inference has.
    """
    tokens = model.tokenize(TEXTS)

    def packed_row(parts, dtype):
        return np.concatenate([np.asarray(part, dtype) for part in parts])[None]

    def numbers(parts):
        segments = packed_row([[i + 1] * len(part) for i, part in enumerate(parts)], np.int32)
        return segments, packed_row([np.arange(len(part)) for part in parts], np.int32)

    texts = (packed_row(tokens, np.int32), *numbers(tokens))
    clips = (packed_row(videos, np.float32), *numbers(videos))
    inputs = jax.tree.map(jnp.asarray, (bundle.variables, texts, clips))
    outputs = jax.jit(functools.partial(outputs_of_a_row, VideoBert(bundle.config)))(*inputs)
    return {name: np.asarray(values[0]) for name, values in outputs.items()}


def outputs_of_a_row(network, variables, texts, clips) -> dict[str, jax.Array]:
    """Every output of the training network for one row of four examples."""

    def run(method, *inputs):
        return network.apply(variables, *inputs, method=method)

    text_segments, video_segments = texts[1], clips[1]
    text = run("encode_text", *texts)
    video = run("encode_video", *clips, jnp.zeros(video_segments.shape, bool))
    fused_text, fused_video = run("fuse", text, text_segments, video, video_segments)
    return {
        "text_embeddings": run("text_embeddings", text, text_segments, 4),
        "video_embeddings": run("video_embeddings", video, video_segments, 4),
        "fused_text": fused_text,
        "fused_video": fused_video,
        "pooled": run("pool", fused_text, text_segments, fused_video, video_segments, 4),
        "text_segments": text_segments,
        "video_segments": video_segments,
    }


def test_embeddings_equal_those_of_the_training_network(model, packed, videos):
    np.testing.assert_allclose(
        model.encode_video(videos), packed["video_embeddings"], atol=TOLERANCE
    )
    np.testing.assert_allclose(model.encode_text(TEXTS), packed["text_embeddings"], atol=TOLERANCE)
    cosines = packed["video_embeddings"] @ packed["text_embeddings"].T
    np.testing.assert_allclose(model.similarity(videos, TEXTS), cosines, atol=TOLERANCE)
    assert np.ptp(cosines) > 0.01  # the network tells inputs apart at all


def test_pairs_equal_those_of_the_training_network(model, packed, videos):
    fused_video, fused_text, pooled = model.encode_pair(videos, TEXTS)
    np.testing.assert_allclose(pooled, packed["pooled"], atol=TOLERANCE)
    for pair in range(4):
        for fused, side in ((fused_video, "video"), (fused_text, "text")):
            expected = packed[f"fused_{side}"][packed[f"{side}_segments"] == pair + 1]
            np.testing.assert_allclose(fused[pair, : len(expected)], expected, atol=TOLERANCE)
            assert not fused[pair, len(expected) :].any()
    assert fused_video.shape[:2] == (4, 8)
    assert fused_text.shape[1] == max(map(len, model.tokenize(TEXTS)))


def test_the_text_matters_to_the_fused_video(model, videos):
    one = model.encode_pair(videos[0], TEXTS[0]).fused_video
    other = model.encode_pair(videos[0], TEXTS[1]).fused_video
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("missing", [pytest.param("video", marks=pytest.mark.long), "text"])
def test_a_pair_may_lack_a_side(model, bundle, videos, missing):
    """As in training, where the row of the side that is missing has nothing but padding."""
    tokens, network = model.tokenize(TEXTS[0])[0], VideoBert(bundle.config)
    texts = [np.array([values]) for values in (tokens, [1] * len(tokens), range(len(tokens)))]
    count = len(videos[0])
    clips = [videos[0][None], *(np.array([values]) for values in ([1] * count, range(count)))]
    if missing == "video":
        clips[1][:] = 0
        fused = model.encode_pair(None, TEXTS[0])
    else:
        texts[1][:] = 0
        fused = model.encode_pair(videos[0], None)
    given = jax.tree.map(jnp.asarray, (bundle.variables, texts, clips))
    expected = outputs_of_a_row(network, *given)
    np.testing.assert_allclose(fused.pooled[0], expected["pooled"][0, 0], atol=TOLERANCE)
    other = {"video": "fused_text", "text": "fused_video"}[missing]
    np.testing.assert_allclose(getattr(fused, other), expected[other], atol=TOLERANCE)
    assert getattr(fused, f"fused_{missing}").shape == (1, 0, bundle.config.embed_dim)
    with pytest.raises(inference.InputError, match="neither a video nor a text"):
        model.encode_pair(None, None)


def test_one_many_and_an_array_give_the_same(model, videos):
    together = model.encode_video(videos)
    for number, video in enumerate(videos):
        np.testing.assert_allclose(
            model.encode_video(video), together[number : number + 1], atol=TOLERANCE
        )
    equal = np.stack([videos[1], videos[1][::-1]])
    np.testing.assert_allclose(
        model.encode_video(equal), model.encode_video(list(equal)), atol=TOLERANCE
    )
    np.testing.assert_allclose(
        model.encode_text(TEXTS[2]), model.encode_text(TEXTS)[2:3], atol=TOLERANCE
    )


def test_many_inputs_keep_their_order_and_compile_little(bundle, videos):
    model = inference.PretrainedModel(bundle)
    many = [videos[i % 4] for i in range(75)]
    encoded = model.encode_video(many)
    np.testing.assert_allclose(
        encoded, model.encode_video(videos)[np.arange(75) % 4], atol=TOLERANCE
    )
    for count in range(1, 40):
        model.encode_video(many[:count])
    assert model.programs["video_vectors"]._cache_size() <= len(rows.NUM_ROWS)  # by 8 clips


def test_statistics_are_applied(bundle, videos):
    plain = inference.PretrainedModel(bundle).encode_video(videos)
    variables = jax.tree.map(np.copy, bundle.variables)
    variables["constants"]["video_embedding"]["mean"] += 1
    shifted = inference.PretrainedModel(dataclasses.replace(bundle, variables=variables))
    assert np.abs(shifted.encode_video(videos) - plain).max() > 1e-3
    np.testing.assert_allclose(
        shifted.encode_video([video + 1 for video in videos]), plain, atol=TOLERANCE
    )


def test_bad_videos_are_named(model, videos):
    cases = {
        r"video 1 has the shape \[5, 7\]; expected \[n, 24\]": [videos[0], np.zeros((5, 7))],
        r"video 0 has 0 clips": np.zeros((0, 24)),
        r"shape \[24\]; expected \[n, 24\]": np.zeros(24),
        r"video 0 has NaN": np.full((2, 24), np.nan),
        r"an empty list": [],
    }
    for message, video in cases.items():
        with pytest.raises(inference.InputError, match=message):
            model.encode_video(video)
    with pytest.raises(inference.InputError, match="video 0 has 9 clips; expected 1 to 8"):
        model.cross_attention(np.zeros((9, 24)), "cut")
    with pytest.raises(inference.InputError, match=r"fps=25"):
        model.encode_video(np.zeros((9, 4, 4, 3), np.uint8))


def test_bad_texts_are_named(model, videos):
    with pytest.raises(inference.InputError, match="text 1 is ' '; expected words"):
        model.encode_text(["cut", " "])
    long = "cut the onion " * 20
    with pytest.raises(inference.InputError, match=r"30 at most.*truncate=True"):
        model.encode_text([long])
    assert len(model.tokenize(long, truncate=True)[0]) == 32
    np.testing.assert_allclose(
        model.encode_text(long, truncate=True),
        model.encode_text(long + long, truncate=True),
        atol=TOLERANCE,
    )
    with pytest.raises(inference.InputError, match="2 videos and 1 texts"):
        model.encode_pair(videos[:2], TEXTS[:1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "found None, of NoneType; expected a str, or a list of them"),
        (b"cut", "found b'cut', of bytes"),
        (3.5, "found 3.5, of float"),
        (["cut", 3], "text 1 is 3, of int, not a str"),
        (["cut", "an \ud800nion"], r"text 1: character 4, '\\ud800', is half of a character"),
    ],
)
def test_what_is_no_text_is_named(text, said):
    with pytest.raises(inference.InputError, match=said):
        inputs.sentences(text)


def test_what_is_no_unicode_is_named_by_every_call(model, videos):
    for call in (
        model.encode_text,
        lambda text: model.fill_mask(text + " [MASK]"),
        lambda text: model.match(videos[0], text),
        lambda text: model.answer(videos[0], "what?", choices=[text, "cut"]),
    ):
        with pytest.raises(inference.InputError, match="half of a character"):
            call("an \udfffnion")


@pytest.mark.parametrize("video", [None, 3, b"film.mp4", {"video": "film.mp4"}])
def test_what_is_no_video_is_named(video):
    with pytest.raises(inference.InputError, match=r"expected a path, Frames, ClipFeatures, an"):
        inputs.listed(video, 24)


def test_the_contract_comes_along(model, bundle):
    assert model.contract == bundle.contract
    assert model.contract.crop == schema.UNKNOWN


def test_a_text_in_another_script_is_noticed(model):
    with pytest.warns(InputWarning, match=r"text 1, .*: \d+ of \d+ pieces are single bytes"):
        model.encode_text(["cut the onion", "\u5305\u4e01\u89e3\u725b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode_text(TEXTS)


def test_names_of_hugging_face(model, tmp_path, videos):
    model.save_pretrained(tmp_path / "saved")
    again = videobert_jax.PretrainedModel.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode_video(videos), model.encode_video(videos))
    assert again.trained_on["video_names"] == ["train_0", "train_1"]


WINDOWS = {9: (0, 1), 16: (0, 4, 8), 18: (0, 4, 8, 10)}  # clips -> first ones of windows of 8


@pytest.mark.parametrize("clips", WINDOWS)
def test_a_long_video_is_the_mean_of_its_windows(model, clips):
    long = np.random.default_rng(clips).normal(size=(clips, fakes.FEATURE_DIM)).astype(np.float32)
    total = np.zeros(0)
    pooled, fused_text = 0, 0
    for first in WINDOWS[clips]:
        window = long[first : first + 8]
        (vector,) = model.encode_video(window)
        total = vector if not total.size else total + vector
        pair = model.encode_pair(window, TEXTS[0])
        pooled, fused_text = pooled + pair.pooled, fused_text + pair.fused_text
    expected = total / np.sqrt(np.square(total).sum())
    short = long[:3]
    encoded = model.encode_video([short, long])
    np.testing.assert_allclose(encoded[1], expected, atol=TOLERANCE)
    np.testing.assert_allclose(encoded[:1], model.encode_video(short), atol=TOLERANCE)
    pair = model.encode_pair(long, TEXTS[0])
    count = len(WINDOWS[clips])
    np.testing.assert_allclose(pair.pooled, pooled / count, atol=TOLERANCE)
    np.testing.assert_allclose(pair.fused_text, fused_text / count, atol=TOLERANCE)
    assert pair.fused_video.shape[:2] == (1, clips)
    # A clip is told in the window that has it nearest to its middle; one that would go beyond the
    # video is moved back to its end.
    for clip in range(clips):
        distances = {first: abs(first + 4 - clip) for first in range(0, clips, 4)}
        nearest = {
            min(first, clips - 8)
            for first in distances
            if distances[first] == min(distances.values())
        }
        candidates = [
            model.encode_pair(long[first : first + 8], TEXTS[0]).fused_video[0, clip - first]
            for first in nearest
        ]
        assert min(np.abs(pair.fused_video[0, clip] - c).max() for c in candidates) < TOLERANCE
