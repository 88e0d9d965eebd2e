"""The two sides of the benchmark of the training step do the same work."""

import pytest

from benchmarks import lxmert, our_step

pytest.importorskip("torch", reason='needs torch: pip install "videobert-jax[parity]"')
pytest.importorskip("transformers", reason='needs transformers: "videobert-jax[parity]"')

SIZES = lxmert.Sizes(
    embed_dim=64,
    num_heads=4,
    feed_forward_dim=128,
    text_layers=2,
    video_layers=3,
    cross_layers=2,
    vocabulary=256,
    feature_dim=32,
    rows=4,
    text_length=16,
    video_length=24,
    masked_text=3,
)


def test_both_sides_have_the_same_matrix_products_and_parameters():
    ours, peer = our_step.ours_like_lxmert(SIZES), lxmert.Peer(SIZES, threads=1)
    # Theirs has a projection of box coordinates, 4 wide, where ours has positions.
    assert ours.flops == pytest.approx(peer.flops(), rel=0.005)
    # What differs are heads that take no part: a pooler each, small projections of ours.
    assert ours.num_parameters == pytest.approx(peer.num_parameters, rel=0.1)


@pytest.mark.long
def test_both_sides_learn_the_batch():
    ours, peer = our_step.ours_like_lxmert(SIZES), lxmert.Peer(SIZES, threads=1)
    before = ours.loss_after(1)
    assert ours.loss_after(60) < 0.9 * before
    for _ in range(60):
        peer.step()
    assert peer.losses[-1] < 0.9 * peer.losses[0]
