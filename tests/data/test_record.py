import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from videobert_jax.data import record


def example_fields(serialised: bytes) -> dict[str, bytes]:
    """Bytes of each feature of a tf.train.Example, read by protobuf."""
    example = tf_example_pb2.Example.FromString(serialised)
    return {key: value.bytes_list.value[0] for key, value in example.features.feature.items()}


@pytest.mark.parametrize("dim", [1, 4, 509, 1024])
def test_a_record_is_an_example_with_the_features_at_the_stated_place(dim):
    features = np.random.default_rng(dim).standard_normal((5, dim)).astype(np.float16)
    layout = record.RecordFormat(dim)
    serialised = layout.serialise(features, video=300, first_clip=1 << 33)
    assert len(serialised) == layout.num_bytes
    fields = example_fields(serialised)
    assert {key: int.from_bytes(fields[key], "little") for key in fields if key != "features"} == {
        "video": 300,
        "first_clip": 1 << 33,
        "num_clips": 5,
    }
    padded = np.concatenate([features, np.zeros((11, dim), np.float16)])
    assert fields["features"] == padded.tobytes()
    raw = np.frombuffer(serialised, np.float16, 16 * dim, layout.features_offset)
    np.testing.assert_array_equal(raw.reshape(16, dim), padded)
    assert layout.integers(serialised).tolist() == [300, 1 << 33, 5]


def test_many_records_are_read_at_once():
    draws = np.random.default_rng(0).standard_normal((3, 16, 8)).astype(np.float16)
    layout = record.RecordFormat(8)
    records = [layout.serialise(clips, n, 0) for n, clips in enumerate(draws)]
    np.testing.assert_array_equal(layout.features(records), draws)
    assert layout.features([]).shape == (0, 16, 8)


def test_records_of_another_form_are_refused():
    layout = record.RecordFormat(8)
    whole = layout.serialise(np.ones((2, 8), np.float16), 0, 0)
    with pytest.raises(record.RecordError, match="expected 359 beginning"):
        layout.features([whole, whole[:-1]])
    with pytest.raises(record.RecordError, match="prepare it anew"):
        layout.features([b"\x0b" + whole[1:]])
    with pytest.raises(record.RecordError, match="1 to 16 clips of 8"):
        layout.serialise(np.ones((17, 8), np.float16), 0, 0)
    with pytest.raises(record.RecordError, match=r"\[2, 9\]"):
        layout.serialise(np.ones((2, 9), np.float16), 0, 0)
