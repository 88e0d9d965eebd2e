"""Captions that a decoder has learnt by heart come back from its application."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import bundles, fakes
from videobert_jax import schema
from videobert_jax.inference import captions
from videobert_jax.inference import model as inference
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import captioning, passes, pretraining
from videobert_jax.objectives.config import CaptioningConfig
from videobert_jax.text.tokenizer import Tokenizer

CAPTIONING = CaptioningConfig(
    weight=1.0, label_smoothing=0.1, word_dropout=0.0, inputs="video", chunks=1
)
PLACES = 32


def block_of(tokenizer: Tokenizer, videos: list[np.ndarray]) -> schema.Batch:
    """Rows of one video each with its caption to write."""
    shape = schema.RowShape(1, 1, 8, 0, 0, fakes.FEATURE_DIM, 0, PLACES, 0, 0)
    made = schema.zero_block(shape, len(videos))
    for row, (video, caption) in enumerate(zip(videos, bundles.CAPTIONS, strict=True)):
        pieces = [*tokenizer.encode([caption])[0], tokenizer.sep_id]
        made.example_ids[row] = row
        for side, length in (("video", len(video)), ("target", len(pieces))):
            getattr(made, f"{side}_segment_ids")[row, :length] = 1
            getattr(made, f"{side}_positions")[row, :length] = np.arange(length)
        made.video_features[row, : len(video)] = video
        made.target_ids[row, : len(pieces)] = pieces
    return fakes.on_device(made)


@pytest.fixture(scope="module")
def model(tiny_run, videos) -> inference.PretrainedModel:
    """A network without layers of the towers that has learnt what belongs to each video."""
    bundle = bundles.tiny(
        dataclasses.replace(
            tiny_run,
            data=dataclasses.replace(tiny_run.data, target_length=PLACES),
            model=dataclasses.replace(
                tiny_run.model,
                dropout_rate=0.0,
                text=dataclasses.replace(tiny_run.model.text, num_layers=0),
                video=dataclasses.replace(tiny_run.model.video, num_layers=0),
            ),
        )
    )
    network, key = VideoBert(bundle.config), jax.random.key(0)
    objectives = tiny_run.objectives
    off = {
        name: dataclasses.replace(getattr(objectives, name), weight=0.0)
        for name in objectives.weights()
    }
    config = dataclasses.replace(objectives, **(off | {"captioning": CAPTIONING}))
    block = block_of(Tokenizer(bundle.tokenizer_model), videos)
    constants = jax.tree.map(jnp.asarray, bundle.variables["constants"])

    def loss(params):
        variables = {"params": params, "constants": constants}
        encoded = passes.encode(network, variables, block, key)
        totals = pretraining.local_totals(network, variables, block, encoded, key, config)
        return totals["captioning"] / captioning.weight(block, CAPTIONING)

    optimizer = optax.adam(3e-3)

    @jax.jit
    def learnt(params):
        def step(_, state):
            params, opt_state = state
            updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(0, 300, step, (params, optimizer.init(params)))[0]

    params = jax.device_get(learnt(jax.tree.map(jnp.asarray, bundle.variables["params"])))
    variables = {**bundle.variables, "params": params}
    return inference.PretrainedModel(dataclasses.replace(bundle, variables=variables))


def test_learnt_captions_come_back(model, videos):
    assert model.caption(videos, num_beams=2) == list(bundles.CAPTIONS)


@pytest.mark.long
def test_text_alone_and_both_sides_are_taken_too(model, videos):
    texts = ["cut the onion", "pour milk"]
    alone = model.caption(transcript=texts, num_beams=1)
    both = model.caption(videos[:2], texts, num_beams=1)
    assert len(alone) == len(both) == 2
    assert alone != both  # the clips are read


@pytest.mark.long
def test_drawn_captions_depend_on_seed_and_place_alone(model, videos):
    many = [videos[n % 4] for n in range(40)]  # two calls, of 32 rows and of 8
    drawn = model.caption(many, top_p=1.0, temperature=3.0, seed=1)
    assert drawn[:3] == model.caption(many[:3], top_p=1.0, temperature=3.0, seed=1)
    assert len(set(drawn)) > 20  # the same video in another place
    assert drawn[:3] != model.caption(many[:3], top_p=1.0, temperature=3.0, seed=2)
    assert model.caption(videos, top_p=0.1) == list(bundles.CAPTIONS)  # one piece is likely


@pytest.mark.long
def test_a_length_bucket_has_one_program(model, videos):
    """2 to 4 inputs of up to 8 clips, and any seed, are a bucket; 9 rows or clips are others."""
    count = model._captions._cache_size
    model.caption(videos[:3], top_p=0.9)
    model.caption(videos[:3], num_beams=3)
    before = count()
    for seed in range(3):
        model.caption([videos[seed][:1], videos[1], videos[3]], top_p=0.9, seed=seed)
        model.caption([*videos[1:], videos[seed]], num_beams=3)
    assert count() == before
    model.caption([*videos, videos[0]], num_beams=3)
    assert count() == before + 1


def test_captions_are_told_from_what_they_were_in_training(model, videos):
    def trained(inputs: str, transcripts: str = "") -> inference.PretrainedModel:
        source = dataclasses.replace(model.bundle.data.sources[0], transcripts=transcripts)
        data = dataclasses.replace(model.bundle.data, sources=(source,))
        changed = dataclasses.replace(model.bundle, data=data, captioning_inputs=inputs)
        return inference.PretrainedModel(changed)

    texts = ["cut the onion", "pour milk"]
    for other, given in (
        (trained("video"), {"video": videos[:2], "transcript": texts}),
        (trained("both"), {"transcript": texts}),  # nobody has the hidden caption: the clips
        (trained("both", "spoken"), {"video": videos[:2]}),
        (trained("transcript", "spoken"), {"video": videos[:2], "transcript": texts}),
    ):
        with pytest.raises(inference.InputError, match="captions are told from .*, as in training"):
            other.caption(**given)
    with pytest.raises(inference.InputError, match="video given, but captions are told from both;"):
        model.caption(videos[:2], inputs="both")
    both = trained("both")
    assert both.caption(videos, num_beams=2) == list(bundles.CAPTIONS)
    told = both.caption(videos[:2], texts, num_beams=1, inputs="both")
    assert told == model.caption(videos[:2], texts, num_beams=1)


def test_what_cannot_be_captioned_is_said(model, videos):
    with pytest.raises(inference.InputError, match="neither video nor transcript"):
        model.caption()
    with pytest.raises(inference.InputError, match="2 videos and 1 texts"):
        model.caption(videos[:2], ["cut"])
    with pytest.raises(inference.InputError, match="beams=0"):
        model.caption(videos, num_beams=0)
    with pytest.raises(inference.InputError, match=r"beams=2 with top_p=0.9"):
        model.caption(videos, num_beams=2, top_p=0.9)
    config = dataclasses.replace(
        model.bundle.config, decoder=dataclasses.replace(model.bundle.config.decoder, num_layers=0)
    )
    without = inference.PretrainedModel(dataclasses.replace(model.bundle, config=config))
    with pytest.raises(inference.InputError, match=r"no decoder \(model.decoder.num_layers=0\)"):
        without.caption(videos)


def test_a_long_video_is_captioned_part_by_part(model, videos):
    """16 clips are two windows of 8."""
    known, mixed = videos[1], np.concatenate([videos[0], videos[3]])
    first, second = model.caption([known, mixed], num_beams=2)
    assert first != second
    assert model.caption(np.concatenate([known, mixed]), num_beams=2) == [f"{first}; {second}"]
    assert model.caption([np.concatenate([known, known]), videos[0]], num_beams=2) == [
        first, bundles.CAPTIONS[0]
    ]  # fmt: skip


def test_segments_are_captioned_by_the_clips_in_them(model, videos):
    """A clip a second: the first three are one learnt video, the next five another."""
    video = np.concatenate([videos[0], videos[3]])
    told = model.caption_segments(video, [(0, 3), (3.0, 8.0)], num_beams=2)
    assert told == [(0, 3, bundles.CAPTIONS[0]), (3.0, 8.0, bundles.CAPTIONS[3])]
    spans = model.caption_segments(video, seconds=3, num_beams=2)
    assert [(of.start, of.end) for of in spans] == [(0, 3), (3, 6), (6, 8)]
    assert spans[0].text == bundles.CAPTIONS[0]
    times, clips = captions.spans(model, video, [(0, 3), (2.6, 7.4)], 10)
    assert times == [(0, 3), (2.6, 7.4)]
    np.testing.assert_array_equal(clips[0], video[:3])
    np.testing.assert_array_equal(clips[1], video[3:7])  # whose centres lie in it
    with pytest.raises(inference.InputError, match="segment 1 from 8 to 9 s; .* within the 8 s"):
        model.caption_segments(video, [(0, 3), (8, 9)])
    with pytest.raises(inference.InputError, match="segments of 0 s"):
        model.caption_segments(video, seconds=0)
