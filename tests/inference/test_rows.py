import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from videobert_jax.inference import rows
from videobert_jax.inference.inputs import Side


@given(st.lists(st.integers(1, 64), min_size=1, max_size=80), st.sampled_from([64, 96]))
def test_no_two_inputs_share_a_slot_and_numbers_count_up(lengths, length):
    places = rows.packed(np.array(lengths), length)
    taken = set()
    for row, start, of in zip(places.row, places.start, lengths, strict=True):
        slots = {(row, slot) for slot in range(start, start + of)}
        assert not taken & slots and start + of <= length
        taken |= slots
    for row in range(places.row.max() + 1):
        numbers = places.number[places.row == row]
        assert sorted(numbers) == list(range(len(numbers)))
        assert 1 <= len(numbers) <= rows.most_inputs(length)


def told_of(segments: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """(sum of an input's values, its number of slots), an input at a time."""
    out = np.zeros((len(values), most, 2))
    for row, number in np.argwhere(np.ones(out.shape[:2], bool)):
        of = segments[row] == number + 1
        out[row, number] = values[row, of].sum(), of.sum()
    return out


def test_every_input_gets_its_own_vector_whatever_their_number():
    random = np.random.default_rng(0)
    shapes = set()
    for count in (*range(1, 60, 3), 700):
        lengths = [40, *random.integers(1, 41, count - 1)]
        inputs = [random.normal(size=(n, 1)) for n in lengths]

        def function(variables, values, segments, positions):
            assert variables == "variables"
            shapes.add(segments.shape)
            starts = np.diff(segments, axis=1, prepend=0) != 0
            assert not positions[starts].any()  # every input begins at position 0
            going_on = ~starts & (segments > 0)
            assert (np.diff(positions, axis=1, prepend=0)[going_on] == 1).all()
            return (told_of(segments, values[..., 0], rows.most_inputs(segments.shape[1])),)

        vectors = rows.vectors(function, "variables", Side(inputs, 64))
        expected = [(values.sum(), len(values)) for values in inputs]
        np.testing.assert_allclose(vectors, expected)
    assert len(shapes) <= len(rows.NUM_ROWS)


def test_little_of_the_rows_is_padding():
    random = np.random.default_rng(0)
    lengths = random.lognormal(np.log(9.5), 0.75, 64).round().clip(1, 64)
    inputs = [np.zeros((int(n), 1)) for n in lengths]
    slots = []

    def function(_, values, segments, positions):
        slots.append(segments.size)
        return (np.zeros((len(segments), rows.most_inputs(segments.shape[1]), 1)),)

    rows.vectors(function, None, Side(inputs, 64))
    assert sum(slots) < 1.4 * lengths.sum() < 0.5 * 64 * lengths.max()
