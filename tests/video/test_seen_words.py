"""Seen words: areas as pairs count them, what is seen told from what is not, and from a video."""

import numpy as np
import pytest

from videobert_jax.video import seen_words

WORDS = ("onion", "welcome", "blue", "always", "rare")


@pytest.fixture(scope="module")
def lines():
    """(clips, said, videos): an onion lies along the first dimension; a video's worktop is blue
    along another that is the video's own; anybody says welcome."""
    generator = np.random.default_rng(0)
    videos = np.repeat(np.arange(60), 8)
    own = generator.normal(size=(60, 40)) * 3
    onion, welcome = generator.random((2, len(videos))) < 0.3
    blue = generator.random(60)[videos] < 0.5
    clips = generator.normal(size=(len(videos), 40)) + own[videos]
    clips[:, 0] = generator.normal(size=len(videos)) + 2.5 * onion
    said = [
        {"always"} | {w for w, is_said in zip(WORDS, of_line, strict=False) if is_said}
        for of_line in zip(onion, welcome, blue, strict=True)
    ]
    said[0] |= {"rare"}
    return clips.astype(np.float32), said, videos


def test_seen_are_words_that_clips_of_other_videos_tell(lines):
    found = seen_words.measure(*lines)
    assert set(found) == {"onion", "welcome", "blue"}  # one in all lines, one in too few
    assert found["onion"].lines == sum("onion" in said for said in lines[1])
    assert found["onion"].is_seen(0.8) and found["onion"].area > 0.9
    for word in ("welcome", "blue"):  # blue is told of every video that was seen, of no other
        assert abs(found[word].area - 0.5) < 0.12 and not found[word].is_seen(0.5)
    assert not found["onion"].is_seen(0.999)


def test_areas_are_the_share_of_pairs_in_the_right_order():
    generator = np.random.default_rng(1)
    told = generator.integers(0, 6, 50).astype(np.float64)  # ties
    says = generator.random(50) < 0.3
    pairs = [(one > other) + 0.5 * (one == other) for one in told[says] for other in told[~says]]
    found = seen_words._seen(told, says)
    assert found.area == pytest.approx(np.mean(pairs)) and found.lines == says.sum()
    drawn = [seen_words._seen(generator.normal(size=50), says).area for _ in range(2000)]
    assert found.sureness == pytest.approx((found.area - 0.5) / np.std(drawn), rel=0.1)


def test_too_few_videos_are_refused(lines):
    clips, said, videos = lines
    with pytest.raises(ValueError, match="lines of 4 videos; 5 or more"):
        seen_words.measure(clips[:32], said[:32], videos[:32])
