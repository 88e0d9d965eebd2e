import pytest

from videobert_jax.training import hlo, traffic

PLACE = "{1,0:T(8,128)}"
ON_CHIP = "{1,0:T(8,128)S(1)}"


def accessed(*lines: str, before: str = "") -> int:
    """Bytes of a program whose entry has these lines behind an f32[8, 4] `%x`, 128 bytes, in the
    large memory, and as large a `%v` on the chip."""
    text = "\n  ".join(
        (f"%x = f32[8,4]{PLACE} parameter(0)", f"%v = f32[8,4]{ON_CHIP} parameter(1)", *lines)
    )
    return traffic.bytes_accessed(
        hlo.read(f"{before}\nENTRY %main (x: f32[8,4]) -> f32[8,4] {{\n  {text}\n}}\n")
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"%y = f32[8,4]{PLACE} add(%x, %x)", 3 * 128),
        (f"%y = f32[8,4]{ON_CHIP} add(%x, %v)", 128),
        (f"%y = f32[8,4]{ON_CHIP} add(%v, %v)", 0),
        (f"%y = f32[2,4]{PLACE} dynamic-slice(%x, %v), dynamic_slice_sizes={{2,4}}", 2 * 32),
        (
            f"%u = f32[1,4]{ON_CHIP} slice(%v), slice={{[0:1],[0:4]}}\n"
            f"  %y = f32[8,4]{PLACE} dynamic-update-slice(%x, %u, %v)",
            16,
        ),
        (f"%y = (f32[8,4]{ON_CHIP}, f32[8,4]{PLACE}, u32[]) copy-start(%x)", 128),
        (f"%y = (f32[8,4]{PLACE}, f32[8,4]{ON_CHIP}, u32[]) copy-start(%v)", 128),
        (f"%y = ((f32[8,4]{PLACE}), f32[2,4]{ON_CHIP}, s32[]) slice-start(%x)", 32),
        (f"%y = ((f32[8,4]{ON_CHIP}), f32[2,4]{PLACE}, s32[]) slice-start(%v)", 32),
        (f"%y = (f32[8,4]{PLACE}, f32[16,4]{PLACE}) all-gather-start(%x)", 128 + 256),
        (f"%y = f32[4,8]{PLACE} bitcast(%x)", 0),
    ],
)
def test_what_stands_in_large_memory_counts(line, expected):
    assert accessed(line) == expected


FUSIONS = f"""
%takes_a_row (a: f32[8,4], b: f32[1,4]) -> f32[1,4] {{
  %a = f32[8,4]{PLACE} parameter(0)
  %b = f32[1,4]{PLACE} parameter(1)
  %c = f32[8,1,4]{PLACE} bitcast(%a)
  %row = f32[1,1,4]{PLACE} dynamic-slice(%c, %b), dynamic_slice_sizes={{1,1,4}}
  %flat = f32[1,4]{PLACE} bitcast(%row)
  ROOT %sum = f32[1,4]{PLACE} add(%flat, %b)
}}

%puts_a_row (a: f32[8,4], b: f32[1,4]) -> f32[8,4] {{
  %a = f32[8,4]{PLACE} parameter(0)
  %b = f32[1,4]{PLACE} parameter(1)
  ROOT %put = f32[8,4]{PLACE} dynamic-update-slice(%a, %b, %b)
}}

%takes_all (a: f32[8,4]) -> f32[8,4] {{
  %a = f32[8,4]{PLACE} parameter(0)
  %row = f32[1,4]{PLACE} dynamic-slice(%a), dynamic_slice_sizes={{1,4}}
  ROOT %sum = f32[8,4]{PLACE} add(%a, %row)
}}

%holds_one (b: f32[1,4], a: f32[8,4]) -> f32[1,4] {{
  %b = f32[1,4]{PLACE} parameter(0)
  %a = f32[8,4]{PLACE} parameter(1)
  %flat = f32[8,1,4]{PLACE} bitcast(%a)
  ROOT %sum = f32[1,4]{PLACE} fusion(%flat, %b), kind=kLoop, calls=%takes_a_row
}}
"""
ROW = f"%r = f32[1,4]{PLACE} parameter(2)"


@pytest.mark.parametrize(
    ("called", "operands", "result", "expected"),
    [
        ("takes_a_row", "%x, %r", f"f32[1,4]{PLACE}", 3 * 16),  # both rows, and the sum
        ("puts_a_row", "%x, %r", f"f32[8,4]{PLACE}", 2 * 16),  # read, and written in place
        ("holds_one", "%r, %x", f"f32[1,4]{PLACE}", 3 * 16),
        ("takes_all", "%x", f"f32[8,4]{PLACE}", 2 * 128),
        ("takes_all", "%v", f"f32[8,4]{ON_CHIP}", 0),
    ],
)
def test_a_fusion_counts_the_parts_it_takes(called, operands, result, expected):
    line = f"%y = {result} fusion({operands}), kind=kLoop, calls=%{called}"
    assert accessed(ROW, line, before=FUSIONS) == expected


def test_a_loop_counts_as_often_as_it_is_taken():
    body = f"""
%body (p: f32[8,4]) -> f32[8,4] {{
  %p = f32[8,4]{PLACE} parameter(0)
  ROOT %n = f32[8,4]{PLACE} negate(%p)
}}
"""
    loop = (
        f"%w = f32[8,4]{PLACE} while(%x), condition=%c, body=%body, "
        'backend_config={"known_trip_count":{"n":"10"}}'
    )
    assert accessed(loop, before=body) == 10 * 2 * 128


def test_a_collective_beside_products_counts_once():
    """As the compiler for TPU writes one: a fusion that starts it, others that go on with it and
    have products of their own, and one that ends it, all of which repeat it."""
    small, flag, all_of_it = f"f32[8,4]{PLACE}", "u32[]{:S(2)}", f"f32[64,4]{PLACE}"
    started = f"{small}, {all_of_it}, {flag}"
    gather = f"%all = {all_of_it} all-gather(%a), channel_id=1"
    operands = f"""
  %a = {small} parameter(0)
  %b = {all_of_it} parameter(1)
  %f = {flag} parameter(2)
  {gather}"""
    before = f"""
%start (a: f32[8,4]) -> (f32[8,4], f32[64,4], u32[]) {{
  %a = {small} parameter(0)
  {gather}
  ROOT %c = ({started}) custom-call(%all), custom_call_target="AsyncCollectiveStart"
}}

%go_on (a: f32[8,4], b: f32[64,4], f: u32[], p: f32[8,4]) -> (f32[8,4], f32[64,4]) {{{operands}
  %p = {small} parameter(3)
  %n = {small} negate(%p)
  ROOT %t = ({small}, {small}, {all_of_it}, {all_of_it}, {flag}) tuple(%n, %a, %b, %all, %f)
}}

%end (a: f32[8,4], b: f32[64,4], f: u32[]) -> f32[64,4] {{{operands}
  ROOT %c = {all_of_it} custom-call(%a, %b, %all, %f), custom_call_target="AsyncCollectiveDone"
}}
"""
    lines = (
        f"%s = ({started}) fusion(%x), kind=kCustom, calls=%start",
        f"%a = {small} get-tuple-element(%s), index=0",
        f"%b = {all_of_it} get-tuple-element(%s), index=1",
        f"%f = {flag} get-tuple-element(%s), index=2",
        f"%y = ({small}, {small}, {all_of_it}, {all_of_it}, {flag}) fusion(%a, %b, %f, %x), "
        "kind=kOutput, calls=%go_on",
        f"%z = {all_of_it} fusion(%a, %b, %f), kind=kCustom, calls=%end",
    )
    assert accessed(*lines, before=before) == (128 + 1024) + 2 * 128
