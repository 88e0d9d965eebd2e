import numpy as np
import pytest

from videobert_jax.training import collectives, hlo

MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def program(*lines: str, before: str = "") -> hlo.Program:
    """A program whose entry has these lines behind an f32[8, 4] `%x`, 128 bytes."""
    text = "\n  ".join(("%x = f32[8,4]{1,0:T(8,128)} parameter(0)", *lines))
    return hlo.read(f"{before}\nENTRY %main (x: f32[8,4]) -> f32[8,4] {{\n  {text}\n}}\n")


def only(*lines: str, before: str = "", mesh=MESH, slices: int = 1) -> collectives.Collective:
    (found,) = collectives.collectives(program(*lines, before=before), mesh, slices)
    return found


# Groups as XLA writes them, on 2 x 2 x 2 devices numbered row by row, and the axes they lie along.
GROUPS = [
    ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", ("tensor",)),
    ("replica_groups={{0,2},{1,3},{4,6},{5,7}}", ("fsdp",)),
    ("replica_groups={{0,1,2,3,4,5,6,7}}", ("data", "fsdp", "tensor")),
    ("replica_groups={}", ("data", "fsdp", "tensor")),
    ("replica_groups=[4,2]<=[8]", ("tensor",)),
    ("replica_groups=[4,2]<=[2,4]T(1,0)", ("data",)),
    ("replica_groups=[2,4]<=[2,2,2]T(1,0,2)", ("data", "tensor")),
    ("replica_groups=mesh['a'=2,'b'=4] {'a'}", ("data",)),
    ("replica_groups=mesh['a'=2,'b'=4], device_ids=([2,4]T(1,0)) {'b'}", ("data", "tensor")),
    ("replica_groups=mesh['a'=2,'b'=4] {'b':(1)2}", ("fsdp",)),
    ("replica_groups=mesh['a'=2,'b'=4] {'b':(2)2}", ("tensor",)),
    ("replica_groups=mesh['a'=2,'b'=4] {'a','b':(2)2}", ("data", "tensor")),
]


@pytest.mark.parametrize(("groups", "axes"), GROUPS)
def test_groups_lie_along_mesh_axes(groups, axes):
    found = only(f"ROOT %y = f32[8,4]{{1,0}} all-reduce(%x), {groups}, to_apply=%sum")
    assert found.axes == axes
    assert found.group_size == 2 ** len(axes)


def test_a_range_of_devices_is_transposed_as_numpy_does():
    found = collectives.device_groups("replica_groups=[3,4]<=[2,3,2]T(1,0,2)", 12)
    assert (
        found.tolist() == np.arange(12).reshape(2, 3, 2).transpose(1, 0, 2).reshape(3, 4).tolist()
    )


@pytest.mark.parametrize(
    ("line", "kind", "size", "sent"),
    [
        ("%y = f32[8,4]{1,0} all-reduce(%x), GROUPS", "all-reduce", 128, 128),
        ("%y = f32[16,4]{1,0} all-gather(%x), GROUPS", "all-gather", 256, 128),
        ("%y = f32[4,4]{1,0} reduce-scatter(%x), GROUPS", "reduce-scatter", 128, 64),
        ("%y = f32[8,4]{1,0} all-to-all(%x), GROUPS", "all-to-all", 128, 64),
        # both directions are named of an asynchronous one; its end says nothing new
        (
            "%y = (f32[8,4]{1,0}, f32[16,4]{1,0}) all-gather-start(%x), GROUPS\n"
            "  %z = f32[16,4]{1,0} all-gather-done(%y)",
            "all-gather",
            256,
            128,
        ),
        (
            "%y = (f32[8,4]{1,0}, f32[8,4]{1,0}, u32[], u32[]) collective-permute-start(%x), "
            "source_target_pairs={{0,1},{2,3}}\n"
            "  %z = f32[8,4]{1,0} collective-permute-done(%y)",
            "collective-permute",
            128,
            128,
        ),
    ],
)
def test_bytes_are_of_the_whole_array(line, kind, size, sent):
    found = only(line.replace("GROUPS", "replica_groups=[4,2]<=[8]"))
    assert (found.kind, found.bytes, found.count) == (kind, size, 1)
    assert found.axes == ("tensor",)
    assert found.sent_a_step == sent


def test_several_arrays_reduced_at_once_count_together():
    found = only(
        "%half = bf16[8,4]{1,0} convert(%x)",
        "%y = (f32[8,4]{1,0}, bf16[8,4]{1,0}) all-reduce(%x, %half), replica_groups={}",
    )
    assert found.bytes == 128 + 64


def test_one_device_sends_nothing():
    alone = program("%y = f32[8,4]{1,0} all-reduce(%x), replica_groups={{0},{1}}")
    assert collectives.collectives(alone, {"data": 2, "fsdp": 1, "tensor": 1}) == []


def test_a_loop_takes_its_collectives_as_often():
    before = """
%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]) parameter(0)
  %v = f32[8,4] get-tuple-element(%p), index=1
  ROOT %r = f32[8,4] all-reduce(%v), replica_groups={}, metadata={op_name="jit(f)/layers/add"}
}
"""
    found = only(
        '%w = (s32[], f32[8,4]) while(%x), condition=%c, body=%body, backend_config={"known_trip_'
        'count":{"n":"24"}}',
        before=before,
    )
    assert (found.count, found.bytes_a_step) == (24, 24 * 128)
    assert found.source == "jit(f)/layers/add"


CHAIN = """
%begins (a: f32[8,4]) -> (f32[8,4], f32[16,4]) {
  %a = f32[8,4] parameter(0)
  %g = f32[16,4] all-gather(%a), GROUPS, CONFIG
  ROOT %s = (f32[8,4], f32[16,4]) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}

%goes_on (b: f32[8,4]) -> f32[16,4] {
  %b = f32[8,4] parameter(0)
  %h = f32[16,4] all-gather(%b), GROUPS, CONFIG
  ROOT %e = f32[16,4] custom-call(%b, %h), custom_call_target="AsyncCollectiveDone"
}
""".replace("GROUPS", "channel_id=3, replica_groups=[4,2]<=[8]").replace(
    "CONFIG", 'backend_config={"async_collective_fusion_config":{"flag_start":"-1"}}'
)


def test_a_gather_beside_products_counts_once():
    found = only(
        "%f = (f32[8,4], f32[16,4]) fusion(%x), kind=kCustom, calls=%begins",
        "ROOT %t = f32[16,4] fusion(%f), kind=kCustom, calls=%goes_on",
        before=CHAIN,
    )
    assert (found.kind, found.bytes_a_step) == ("all-gather", 256)


def test_a_reduction_of_which_each_keeps_a_part_is_a_reduce_scatter():
    before = """
%all-reduce-scatter.2 (a: f32[8,4]) -> f32[4,4] {
  %a = f32[8,4] parameter(0)
  %r = f32[8,4] all-reduce(%a), channel_id=1, replica_groups=[4,2]<=[8], to_apply=%sum
  ROOT %d = f32[4,4] dynamic-slice(%r), dynamic_slice_sizes={4,4}
}
"""
    found = only(
        "ROOT %f = f32[4,4] fusion(%x), kind=kCustom, calls=%all-reduce-scatter.2", before=before
    )
    assert (found.kind, found.bytes, found.sent_a_step) == ("reduce-scatter", 128, 64)


def test_between_slices_a_transfer_counts_and_devices_are_numbered_in_theirs():
    lines = (
        "%t = token[] after-all()",
        "%s = (f32[8,4]{1,0}, u32[], token[]) send(%x, %t), channel_id=2, is_host_transfer=true, "
        'frontend_attributes={_xla_megascale_target="{1,2}x{0:3}",'
        '_xla_megascale_transfer_type="ALL_REDUCE"}',
        "%d = token[] send-done(%s), channel_id=2, is_host_transfer=true",
        "ROOT %y = f32[8,4]{1,0} all-reduce(%x), replica_groups={}",
    )
    mesh = {"data": 4, "fsdp": 2, "tensor": 1}
    across, within = collectives.collectives(program(*lines), mesh, 2)
    assert (across.kind, across.across_slices, across.group_size) == ("all-reduce", True, 2)
    assert (across.bytes, across.axes) == (128, ())
    assert (within.across_slices, within.axes) == (False, ("data", "fsdp"))
    assert within.group_size == 4  # of the 8 devices half are in each
    total = collectives.totals([within, across, within])
    assert [(each.where, each.count, each.bytes_a_step) for each in total] == [
        ("over data, fsdp", 2, 256),
        ("between slices", 1, 128),
    ]
    unknown = program(*(line.replace("ALL_REDUCE", "GOSSIP") for line in lines))
    with pytest.raises(hlo.ProgramError, match="gossip between slices is not known"):
        collectives.collectives(unknown, mesh, 2)
