"""The captioning objective beside loops in NumPy, one piece at a time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import bundles, fakes
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives import captioning, passes, pretraining
from videobert_jax.objectives.config import CaptioningConfig

CONFIG = CaptioningConfig(
    weight=1.0, label_smoothing=0.1, word_dropout=0.0, inputs="both", chunks=1
)
WORD, CLS, MASK = 5, 2, 4  # the first piece that is a word; special pieces


@pytest.fixture
def block():
    made = fakes.block(6)
    of_first = {"text": made.text_segment_ids == 1, "video": made.video_segment_ids == 1}
    made.video_segment_ids[1][of_first["video"][1]] = 0  # an example without clips
    made.video_masked[2][of_first["video"][2]] = True  # one whose clips are all hidden
    made.text_segment_ids[3][of_first["text"][3]] = 0  # one without a text
    made.text_ids[4][of_first["text"][4]] = MASK  # one whose text is hidden as a whole
    made.target_segment_ids[5][made.target_segment_ids[5] == 1] = 0  # one without a caption
    made.target_shown[0, 1] = True  # one whose text is the caption to write
    return made


def seen(block, row: int, example: int) -> tuple[bool, bool]:
    """(whether some clip, whether some word of it is seen)."""
    clips = (block.video_segment_ids[row] == example + 1) & ~block.video_masked[row]
    words = (block.text_segment_ids[row] == example + 1) & (block.text_ids[row] >= WORD)
    return bool(clips.any()), bool(words.any())


def counted_pieces(block, inputs: str) -> list[tuple[int, int]]:
    """(row, place) of every piece that has to be written."""
    found = []
    for row, place in zip(*np.nonzero(block.target_segment_ids), strict=True):
        example = block.target_segment_ids[row, place] - 1
        clip, word = seen(block, row, example)
        told = {"video": clip, "transcript": word, "both": clip or word}[inputs]
        if told and not (inputs != "video" and block.target_shown[row, example]):
            found.append((int(row), int(place)))
    return found


LEFT_OUT = {
    "video": {(1, 0), (2, 0), (5, 0)},
    "transcript": {(0, 1), (3, 0), (4, 0), (5, 0)},
    "both": {(0, 1), (5, 0)},
}


@pytest.mark.parametrize("inputs", ["video", "transcript", "both"])
def test_examples_count_where_something_tells_their_caption(block, inputs):
    config = dataclasses.replace(CONFIG, inputs=inputs)
    expected = counted_pieces(block, inputs)
    examples = {(row, int(block.target_segment_ids[row, place]) - 1) for row, place in expected}
    assert examples == set(np.ndindex(6, 2)) - LEFT_OUT[inputs]
    on_device = fakes.on_device(block)
    found = np.asarray(captioning.piece_weights(on_device, config))
    assert list(zip(*np.nonzero(found), strict=True)) == expected
    assert float(captioning.weight(on_device, config)) == len(expected)


def test_the_loss_is_smoothed_cross_entropy_at_the_pieces(block):
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2.0, size=(*block.target_ids.shape, 30)).astype(np.float32)
    block.target_ids %= 30
    expected, pieces = 0.0, counted_pieces(block, "both")
    for row, place in pieces:
        exponentials = np.exp(logits[row, place].astype(np.float64))
        log_probabilities = np.log(exponentials / exponentials.sum())
        wanted = np.full(30, 0.1 / 30)
        wanted[block.target_ids[row, place]] += 0.9
        expected -= (wanted * log_probabilities).sum()
    inputs = (jnp.asarray(logits), lambda decoded: decoded, fakes.on_device(block))
    assert float(captioning.total(*inputs, CONFIG)) == pytest.approx(expected, rel=1e-5)
    sharp = dataclasses.replace(CONFIG, label_smoothing=0.0)
    assert float(captioning.total(*inputs, sharp)) != pytest.approx(expected, rel=1e-3)


def test_the_decoder_reads_the_piece_before(block):
    found = np.asarray(captioning.decoder_inputs(fakes.on_device(block), CONFIG, jax.random.key(0)))
    for row, place in zip(*np.nonzero(block.target_segment_ids), strict=True):
        first = block.target_positions[row, place] == 0
        assert found[row, place] == (CLS if first else block.target_ids[row, place - 1])


def test_written_pieces_are_hidden_at_their_rate(block):
    """But for [CLS], from which a caption begins; by the key."""
    on_device, hiding = fakes.on_device(block), dataclasses.replace(CONFIG, word_dropout=0.4)
    whole = np.asarray(captioning.decoder_inputs(on_device, CONFIG, jax.random.key(0)))
    counts, later = np.zeros(2), block.target_positions > 0
    for number in range(40):
        found = np.asarray(captioning.decoder_inputs(on_device, hiding, jax.random.key(number)))
        hidden = found != whole
        assert (found[hidden] == MASK).all() and not hidden[~later].any()
        counts += hidden.sum(), later.sum()
    assert counts[0] / counts[1] == pytest.approx(0.4, abs=0.03)


@pytest.fixture(scope="module")
def totals(tiny_run):
    """Block -> the objective as the network makes it, by (inputs, chunks)."""
    bundle = bundles.tiny(tiny_run)
    model = VideoBert(dataclasses.replace(bundle.config, dropout_rate=0.0))
    variables, key = jax.tree.map(jnp.asarray, bundle.variables), jax.random.key(0)
    objectives = tiny_run.objectives
    off = {
        name: dataclasses.replace(getattr(objectives, name), weight=0.0)
        for name in objectives.weights()
    }

    @jax.jit
    def by_settings(block):
        encoded = passes.encode(model, variables, block, key)
        found = {}
        for inputs, chunks in (("video", 1), ("transcript", 1), ("transcript", 3)):
            captioning = dataclasses.replace(CONFIG, inputs=inputs, chunks=chunks)
            config = dataclasses.replace(objectives, **(off | {"captioning": captioning}))
            totals = pretraining.local_totals(model, variables, block, encoded, key, config)
            found[inputs, chunks] = totals["captioning"]
        return found

    return lambda block: jax.device_get(by_settings(fakes.on_device(block)))


@pytest.mark.long
def test_a_side_that_is_not_read_changes_nothing(totals):
    block, other_text, other_video = (fakes.block(6) for _ in range(3))
    other_text.text_ids[other_text.text_ids > 0] = 7
    other_video.video_features *= -1
    before, text_changed, video_changed = map(totals, (block, other_text, other_video))
    assert text_changed["video", 1] == before["video", 1]
    assert video_changed["transcript", 1] == before["transcript", 1]
    assert abs(text_changed["transcript", 1] - before["transcript", 1]) > 0.01
    assert abs(video_changed["video", 1] - before["video", 1]) > 0.01


def test_chunks_change_memory_and_not_the_loss(totals):
    found = totals(fakes.block(6))
    assert found["transcript", 3] == pytest.approx(found["transcript", 1], rel=1e-5)
    assert found["transcript", 1] > 100
