import pytest

from videobert_jax.training import collectives, roofline, topologies


@pytest.mark.parametrize("name", ["v5e:3x5", "v7:2x2x1", "v5p", "v5p:4x4", "v5e:32x32", ""])
def test_an_unknown_slice_is_answered_with_those_there_are(name):
    with pytest.raises(topologies.TopologyError) as error:
        topologies.chip(name)
    text = str(error.value)
    assert text.startswith(f"--topology={name}: there is no such TPU slice")
    assert "v5e: 1x1, 2x2" in text
    assert "v5p: 2x2x1" in text


def test_devices_of_several_slices_are_counted_and_named():
    target = topologies.Target("v5p:4x4x8", slices=2)
    assert (target.num_devices, target.name) == (256, "2 x v5p:4x4x8")
    assert target.available_bytes == topologies.CHIPS["v5p"].hbm_bytes
    device = topologies.Target.device(24 * 2**30)
    assert (device.num_devices, device.name) == (1, "one device of 24 GiB")
    assert (device.available_bytes, device.platform) == (24 * 2**30, "gpu")
    with pytest.raises(topologies.TopologyError, match="--slices=0"):
        topologies.Target("v5p:4x4x4", slices=0)


def test_every_chip_has_a_peak():
    for kind, chip in topologies.CHIPS.items():
        # A data sheet's FLOP/s by its bytes a second: the products a byte that keep a chip busy.
        assert 150 < topologies.peak_flops(f"{kind}:{chip.shapes[0]}") / chip.hbm_bandwidth < 600


def test_the_longest_time_is_the_bound():
    reduced = collectives.Collective("all-reduce", ("data",), False, 4, 200 * 10**9, 2, "")
    across = collectives.Collective("all-reduce", (), True, 2, 10**9, 1, "")
    sent = roofline.Sent.by([reduced, across])
    assert (sent.within_slice, sent.between_slices) == (2 * 0.75 * 400e9, 1e9)
    found = roofline.of_step("v5e:4x4", 394e12, 819e9, sent)
    assert (found.arithmetic, found.memory, found.network) == (2.0, 1.0, 3.0)
    assert found.between_slices == pytest.approx(1 / 3.125)
    assert (found.bound, found.seconds) == ("network", 3.0)
    compute = roofline.of_step("v5e:4x4", 1970e12, 819e9, sent)
    assert (compute.bound, compute.seconds) == ("arithmetic", 10.0)


def test_where_no_data_sheet_says_how_slices_are_joined_nothing_is_made_up():
    sent = roofline.Sent(1e9, 1e9)
    assert roofline.of_step("v4:4x4x4", 1e12, 1e9, sent).between_slices is None
    assert roofline.of_step("v4:4x4x4", 1e12, 1e9, roofline.Sent(1e9, 0.0)).between_slices == 0
