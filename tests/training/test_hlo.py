import pytest

from videobert_jax.training import hlo

PROGRAM = """HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%sum (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add = f32[] add(%x, %y)
}

%inner_body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[]{:T(128)}, f32[4]{0:T(256)S(1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %i.copy = s32[]{:T(128)} copy(%i)
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%i.copy, %one), metadata={op_name="jit(f)/while/body/add"}
  %v = f32[4]{0:T(256)S(1)} get-tuple-element(%p), index=1
  ROOT %out = (s32[]{:T(128)}, f32[4]{0:T(256)S(1)}) tuple(%next, %v)
}

%inner_condition (p.1: (s32[], f32[4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(7)
  %p.1 = (s32[]{:T(128)}, f32[4]{0:T(256)S(1)}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%j, %limit), direction=LT
}

%outer_body (q: (s32[], f32[4])) -> (s32[], f32[4]) {
  %q = (s32[], f32[4]{0}) parameter(0)
  %first = s32[]{:T(128)} constant(2)
  %begin = s32[]{:T(128)} copy(%first)
  %w = f32[4]{0:T(256)} get-tuple-element(%q), index=1
  %start = (s32[]{:T(128)}, f32[4]{0:T(256)}) tuple(%begin, %w)
  ROOT %loop = (s32[], f32[4]{0:T(256)}) while(%start), condition=%inner_condition, \
body=%inner_body
}

%outer_condition (q.1: (s32[], f32[4])) -> pred[] {
  %q.1 = (s32[], f32[4]{0}) parameter(0)
  ROOT %fused = pred[] fusion(%q.1), kind=kLoop, calls=%anything
}

%anything (q.2: (s32[], f32[4])) -> pred[] {
  %q.2 = (s32[], f32[4]{0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0:T(256)} parameter(0)
  %zero = s32[] constant(0)
  %pair = (s32[], f32[4]{0}) tuple(%zero, %a)
  %scan = (s32[], /*index=1*/f32[4]{0}) while(%pair), condition=%outer_condition, \
body=%outer_body, backend_config={"known_trip_count":{"n":"3"}}
  %total = f32[] reduce(%a, %zero), dimensions={0}, to_apply=%sum
  ROOT %b = f32[4]{0:T(256)} get-tuple-element(%scan), index=1
}
"""


def test_bodies_count_as_often_as_their_loops_are_taken():
    times = hlo.read(PROGRAM).executions
    assert times["main"] == 1
    assert times["outer_body"] == 3  # as noted beside the loop
    assert times["inner_body"] == 3 * (7 - 2)  # by its counter, from 2 up to 7
    assert "sum" not in times  # it is applied to single numbers
    two_at_a_time = PROGRAM.replace("%one = s32[]{:T(128)} constant(1)", "%one = s32[] constant(2)")
    assert hlo.read(two_at_a_time).executions["inner_body"] == 3 * 3  # 2, 4 and 6


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("constant(7)", "constant({...})"),
        ("direction=LT", "direction=NE"),
        ("%one = s32[]{:T(128)} constant(1)", "%one = s32[]{:T(128)} constant(0)"),
        ("tuple(%begin, %w)", "tuple(%w, %w)"),
    ],
)
def test_a_loop_of_unknown_length_is_an_error(found, put):
    assert found in PROGRAM
    with pytest.raises(hlo.ProgramError, match=r"how often the loop loop is taken.*less = compare"):
        _ = hlo.read(PROGRAM.replace(found, put)).executions


def test_results_have_types_and_places():
    body = hlo.read(PROGRAM).computations["inner_body"]
    counter, values = body.instructions["p"].arrays
    assert (counter.dtype, counter.shape, counter.memory_space) == ("s32", (), 0)
    assert (values.dtype, values.shape, values.memory_space) == ("f32", (4,), 1)
    assert body.instructions["p"].bytes == 4 + 4 * 4
    assert body.root.operands == ["next", "v"]


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bf16", 48), ("pred", 24), ("s4", 12), ("f8e4m3fn", 24), ("u64", 192)]
)
def test_bytes_of_an_array(dtype, expected):
    assert hlo.ArrayType(dtype, (2, 3, 4), 0).bytes == expected


def test_what_is_no_program_is_an_error():
    with pytest.raises(hlo.ProgramError, match="no ENTRY"):
        hlo.read("nothing")
    with pytest.raises(hlo.ProgramError, match="a line of main is no instruction: %a := 3"):
        hlo.read("ENTRY %main (a: f32[4]) -> f32[4] {\n  %a := 3\n}\n")
