"""JSON from anywhere: all that can be wrong with it is a ValueError."""

import json
from typing import Any


def parse(content: str | bytes) -> Any:
    """The value of a JSON text.

    Raises ValueError where it is none, is nested deeper than can be read, has numbers of more
    digits than Python reads, or text with halves of surrogate pairs, which no file can hold.
    """
    try:
        value = json.loads(content)
        text = content.decode("latin-1") if isinstance(content, bytes) else content
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value
