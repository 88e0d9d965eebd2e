import pytest

from videobert_jax.data.video_ids import canonical


@pytest.mark.parametrize(
    "name",
    [
        "dQw4w9WgXcQ",
        "v_dQw4w9WgXcQ",
        "dQw4w9WgXcQ.mp4",
        "dQw4w9WgXcQ.MP4.npy",
        "dQw4w9WgXcQ.pth.tar",
        "some/folder/dQw4w9WgXcQ.webm",
        "C:\\videos\\dQw4w9WgXcQ.mkv",
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=10s",
        "https://www.youtube.com/watch?list=x&v=dQw4w9WgXcQ",
        "https://youtu.be/dQw4w9WgXcQ?t=3",
        "http://m.youtube.com/embed/dQw4w9WgXcQ",
        "https://www.youtube-nocookie.com/shorts/dQw4w9WgXcQ/",
        "  dQw4w9WgXcQ\n",
    ],
)
def test_one_video_has_one_name(name):
    assert canonical(name) == "dQw4w9WgXcQ"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("-0_abcDEF-_", "-0_abcDEF-_"),  # begins with a dash
        ("v_ABCDEFGHI", "v_ABCDEFGHI"),  # eleven letters: the v_ belongs to the id
        ("DQW4W9WGXCQ", "DQW4W9WGXCQ"),  # case tells videos apart
        ("kitchen_0007.mp4", "kitchen_0007"),
        ("a.b.c.mp4", "a.b.c"),
        ("my film.final.mov", "my film.final"),
        (".npy", ".npy"),
        ("https://vimeo.com/12345", "12345"),
    ],
)
def test_what_is_no_wrapping_stays(name, expected):
    assert canonical(name) == expected


def test_nothing_is_refused():
    for name in ("", "  ", "folder/"):
        with pytest.raises(ValueError, match="names no video"):
            canonical(name)
