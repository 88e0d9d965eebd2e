"""Decoding at a fixed rate: frames of known brightness, written to real H.264 files."""

import fractions

import numpy as np
import pytest

from videobert_jax.files import extras
from videobert_jax.video import decode

av = pytest.importorskip("av", reason="PyAV is not installed")


def grey_frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frame i has brightness 5 * i."""
    return [np.full((height, width, 3), 5 * i, np.uint8) for i in range(count)]


def numbers(frames) -> list[int]:
    return [round(float(frame.mean()) / 5) for frame in frames]


@pytest.fixture
def movie(tmp_path):
    """40 frames at 10 a second."""
    path = tmp_path / "movie.mp4"
    assert decode.write_frames(path, grey_frames(40), 10) == 40
    return path


@pytest.mark.parametrize("fps", [10.0, 5.0, 20.0, 32 / 3, 3.0])
def test_frames_are_those_on_screen_at_each_tick(movie, fps):
    found = numbers(decode.read_frames(movie, fps, 32))
    ticks = [tick / fps for tick in range(100) if tick / fps < 4.0 - 1e-3]
    expected = [int(10 * seconds + 1e-6) for seconds in ticks]
    assert found == expected


def test_frames_are_squares_of_the_centre(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, 24:72] = 200  # the centre square
    decode.write_frames(tmp_path / "wide.mp4", [picture] * 3, 10)
    frame = next(decode.read_frames(tmp_path / "wide.mp4", 10.0, 24))
    assert frame.shape == (24, 24, 3)
    assert frame[:, 2:-2].min() > 180


def test_squashed_frames_show_more_of_a_wide_picture(tmp_path):
    """Both sides of 96 x 48 become 32, so the centre 24 are columns 12 to 84."""
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, :48] = 200
    picture[:, 24:36] = 0  # a bar, columns 8 to 12 of the 32, 4 to 8 of the 24
    decode.write_frames(tmp_path / "wide.mp4", [picture] * 3, 10)
    frame = next(decode.read_frames(tmp_path / "wide.mp4", 10.0, 24, squashed=32))
    assert frame.shape == (24, 24, 3)
    columns = frame[4:-4].mean((0, 2))
    assert columns[:3].min() > 150 and columns[5:7].max() < 80
    assert columns[9:11].min() > 150 and columns[13:].max() < 40


def test_the_same_frames_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        decode.write_frames(tmp_path / name, grey_frames(12), 10)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failure_leaves_no_half_file(tmp_path):
    def broken():
        yield from grey_frames(3)
        raise RuntimeError("the renderer broke")

    with pytest.raises(RuntimeError, match="broke"):
        decode.write_frames(tmp_path / "movie.mp4", broken(), 10)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_videos_are_named(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    with pytest.raises(decode.VideoError, match=r"notes\.mp4 cannot be decoded"):
        list(decode.read_frames(text, 10.0, 32))
    with pytest.raises(decode.VideoError, match="is not there"):
        list(decode.read_frames(tmp_path / "absent.mp4", 10.0, 32))


def test_without_pyav_the_install_line_is_given(monkeypatch, movie):
    def absent(module, extra):
        raise extras.MissingExtra(f"{module}: pip install videobert-jax[{extra}]")

    monkeypatch.setattr(decode.extras, "require", absent)
    with pytest.raises(extras.MissingExtra, match=r"\[video\]"):
        next(decode.read_frames(movie, 10.0, 32))


class Shown:
    """A decoded frame with another rotation than its file has."""

    def __init__(self, frame, rotation):
        self._frame, self.rotation = frame, rotation
        self.width, self.height = frame.width, frame.height

    def to_ndarray(self, **form):
        return self._frame.to_ndarray(**form)


def test_pictures_are_turned_as_their_frames_say():
    picture = np.zeros((48, 48, 3), np.uint8)
    picture[:24, :24] = 200  # the upper left quarter
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    corners = {0: (0, 0), 90: (1, 0), 180: (1, 1), -90: (0, 1)}  # counterclockwise
    for rotation, (row, column) in corners.items():
        found = decode.square(Shown(frame, rotation), 24)
        quarters = found.reshape(2, 12, 2, 12, 3).mean((1, 3, 4))
        assert np.unravel_index(quarters.argmax(), (2, 2)) == (row, column)


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    """48 x 48 pixels twice as wide as high are a picture of 96 x 48."""
    picture = np.zeros((48, 48, 3), np.uint8)
    picture[:, 12:36] = 200  # columns 24 to 72 of 96: the centre square
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frame = next(decode.read_frames(path, 10.0, 24))
    assert frame[:, 2:-2].min() > 150
    assert decode.duration(path) == pytest.approx(0.3, abs=0.05)


def test_uneven_times_are_shown_as_they_are(tmp_path):
    """Frames at 0, 0.1, 0.2, then 1.0 s, of a stream that begins at 5 s."""
    path = tmp_path / "uneven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for level, milliseconds in ((40, 0), (80, 100), (120, 200), (200, 1000)):
            frame = av.VideoFrame.from_ndarray(
                np.full((32, 32, 3), level, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = 5000 + milliseconds, fractions.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = [round(float(frame.mean()) / 40) for frame in decode.read_frames(path, 10.0, 16)]
    assert found[:11] == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 5]


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("alpha.mov", "qtrle", "argb", {}),
        ("alpha.png.mov", "png", "rgba", {}),
        ("interlaced.mpg", "mpeg2video", "yuv420p", {"flags": "+ilme+ildct"}),
        ("interlaced.mp4", "libx264", "yuv420p", {"x264-params": "tff=1:interlaced=1"}),
    ],
)
def test_transparent_and_interlaced_pictures_keep_their_colours(
    tmp_path, name, codec, pixels, options
):
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[..., 0], picture[..., 3] = 200, 255
    picture[:, 32:, 3] = 40  # nearly transparent: of the same colour all the same
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.options = pixels, options
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(tmp_path / name)) as container:
        first = next(container.decode(video=0))
        assert first.interlaced_frame == name.startswith("interlaced")
        assert first.format.name == pixels
    frames = list(decode.read_frames(tmp_path / name, 10, 32))
    assert len(frames) == 20
    for frame in frames:
        np.testing.assert_allclose(frame, np.broadcast_to([200, 0, 0], frame.shape), atol=6)
