"""One name a video, however a source writes it."""

import re
import urllib.parse

_YOUTUBE_ID = r"[A-Za-z0-9_-]{11}"
_YOUTUBE_HOST = re.compile(r"(www\.|m\.|music\.)?(youtube(-nocookie)?\.com|youtu\.be)")
_IN_PATH = re.compile(rf"/(?:embed/|v/|shorts/|live/)?({_YOUTUBE_ID})/?")
_SUFFIX = re.compile(
    r"\.(npy|npz|pth|pt|pkl|tar|h5|hdf5|mp4|m4v|mkv|webm|avi|mov|wmv|flv|mpg|mpeg|3gp|vtt|srt"
    r"|json|json3|csv)$",
    re.IGNORECASE,
)
_ACTIVITYNET = re.compile(rf"v_({_YOUTUBE_ID})")


def canonical(name: str) -> str:
    """The id of a video: of a path or file its stem, of YouTube's addresses the id in them.

    `v_` before a YouTube id (ActivityNet writes it) is left out; other letters stay as they are:
    YouTube's ids differ by case. Raises ValueError where nothing is left.
    """
    given = name.strip()
    address = urllib.parse.urlsplit(given)
    if address.netloc and _YOUTUBE_HOST.fullmatch(address.netloc.lower()):
        query = urllib.parse.parse_qs(address.query).get("v", [""])[0]
        found = re.fullmatch(_YOUTUBE_ID, query) or _IN_PATH.fullmatch(address.path)
        if found is not None:
            return found[found.re.groups]
    stem = re.split(r"[/\\]", given)[-1]
    while (shorter := _SUFFIX.sub("", stem)) != stem and shorter:
        stem = shorter
    found = _ACTIVITYNET.fullmatch(stem)
    stem = found[1] if found else stem
    if not stem:
        raise ValueError(f"{name!r} names no video; expected an id, a file or an address")
    return stem
