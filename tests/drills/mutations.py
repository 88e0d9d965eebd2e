"""Damage done to a file on purpose: the same for the same draws, and shaped by what the file is.

Half of the damage is to bytes whatever they are; the other half knows the format by the file's name
(`damaged`), takes it apart, damages a part, and puts it together again, so that digests of the
container are right and the readers behind them are reached.
"""

import ast
import copy
import gzip
import io
import json
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

CANARY = "canary"  # what code in a pickle writes, in the folder in which a reader runs
OUTSIDE = "outside.txt"  # beside the folder with the files; nothing may read it
_SIZES = (b"\x00", b"\xff", b"\x7f\xff", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 7 + b"\x40")
_BOMB = 1 << 24  # bytes of zeros that some members unpack to
_DEEP = 20_000
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x" * 3000,
    "\ud800",
    "\x00",
    f"../{OUTSIDE}",
    "/etc/hostname",
    "nan",
    [],
    {},
    [[]],
    [None],
    {"a": {}},
)


def damaged(name: str, content: bytes, draw: random.Random) -> bytes:
    """The content of a file of this name, damaged."""
    known = next((change for ends, change in _BY_NAME if name.endswith(ends)), None)
    if known is not None and draw.random() < 0.6:
        try:
            return known(content, draw)
        except (ValueError, KeyError, IndexError, zipfile.BadZipFile, OSError):
            pass  # of a seed that the format's own rules do not fit, such as an empty one
    return damaged_bytes(content, draw)


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content cut, flipped, spliced, doubled, zeroed or lying about a size, whatever it is."""
    out = bytearray(content)
    start, stop = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    kind = draw.randrange(8)
    if kind == 0:
        del out[start:]
    elif kind == 1 and out:
        for _ in range(draw.randint(1, 8)):
            out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    elif kind == 2:
        out[start:start] = draw.randbytes(draw.randint(1, 40))
    elif kind == 3:
        out[start : min(stop, start + 64)] = content[stop : stop + draw.randint(1, 64)]
    elif kind == 4:
        lie = draw.choice(_SIZES)
        out[start : start + len(lie)] = lie
    elif kind == 5:
        del out[start : start + draw.randint(1, 16)]
    elif kind == 6:
        out[stop:stop] = content[start:stop]
    else:
        out[start:stop] = bytes(stop - start)
    return bytes(out)


# -- JSON


def _json(content: bytes, draw: random.Random) -> bytes:
    kind = draw.randrange(12)
    if kind == 0:
        return b"[" * _DEEP + b"]" * draw.choice((0, _DEEP))
    if kind == 1:
        return b'{"a":' * _DEEP + b"1" + b"}" * _DEEP
    if kind == 2:
        return json.dumps(draw.choice(_VALUES)).encode()
    value = json.loads(content)
    for _ in range(draw.randint(1, 3)):
        value = _node(value, draw)
    text = json.dumps(value)
    if kind == 3:  # a number of more digits than Python reads
        text = text.replace("1", "9" * 5000, 1)
    if kind == 4:  # a value nested deep in its place
        text = text.replace(draw.choice("0123456789"), "[" * _DEEP + "]" * _DEEP, 1)
    return text.encode()


def _jsonl(content: bytes, draw: random.Random) -> bytes:
    lines = [line for line in content.split(b"\n") if line]
    place = draw.randrange(len(lines))
    lines[place : place + 1] = draw.choice(
        ([_json(lines[place], draw)], [], [lines[place]] * 2, [b"", lines[place]])
    )
    return b"\n".join(lines) + b"\n"


def _node(value: Any, draw: random.Random) -> Any:
    """The value with one of its nodes replaced, removed, doubled, renamed or put elsewhere."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(value, dict | list):
        walk(value)
    if not places:
        return _a_value(draw)
    node, key = draw.choice(places)
    kind = draw.randrange(6)
    if kind <= 2:
        node[key] = _a_value(draw)
    elif kind == 3:
        del node[key]
    elif kind == 4 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    elif kind == 4:
        node[str(draw.choice(_VALUES))] = node.pop(key)
    else:
        other, place = draw.choice(places)
        node[key] = json.loads(json.dumps(other[place])) if _has(other, place) else None
    return value


def _a_value(draw: random.Random) -> Any:
    """One that no reader expects, of its own: lists of it are changed later, and case by case."""
    return copy.deepcopy(draw.choice(_VALUES))


def _has(node: Any, key: Any) -> bool:
    return key in node if isinstance(node, dict) else key < len(node)


# -- tables and text


def _csv(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = draw.randrange(len(lines))
    cells = lines[place].split(draw.choice((b",", b"\t")))
    cell = draw.randrange(len(cells))
    cells[cell : cell + 1] = draw.choice(
        (
            [],
            [b""],
            [b'"'],
            [b'"a\nb"'],
            [b"x" * 200_000],
            [b"\x00"],
            [b"\xff\xfe"],
            [b"nan"],
            [b"-1e999"],
            [b"9" * 5000],
            [cells[cell]] * 2,
            [f"../{OUTSIDE}".encode()],
            ["\u2028".encode()],
        )
    )
    lines[place] = b",".join(cells)
    return b"\n".join(lines)


def _lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = draw.randrange(len(lines))
    other = draw.choice(lines)
    lines[place : place + 1] = draw.choice(
        (
            [],
            [other],
            [lines[place]] * 50,
            [b"99:99:99.999 --> 00:00:00.000"],
            [b"-->" * 100],
            [lines[place].replace(b"0", b"9" * 30)],
            [lines[place], b"<" * 5000],
            [b"[" * 3000],
            [f"../{OUTSIDE}".encode()],
            [b"\x00\xff"],
            [b"&" + b"#9" * 3000 + b";"],
        )
    )
    return b"\n".join(lines)


def _xml(content: bytes, draw: random.Random) -> bytes:
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    other = f'<!DOCTYPE a [<!ENTITY a SYSTEM "../{OUTSIDE}">]>'.encode()
    after = content.find(b"?>") + 2
    kind = draw.randrange(4)
    if kind == 0:
        return content[:after] + draw.choice((bomb, other)) + content[after:]
    if kind == 1:
        return content[:after] + b"<a>" * _DEEP
    if kind == 2:
        return content.replace(b"<v>", b"<v>9999999999", 1)
    return damaged_bytes(content, draw)


# -- arrays


def _npy(content: bytes, draw: random.Random) -> bytes:
    length = struct.unpack("<H", content[8:10])[0]
    fields = ast.literal_eval(content[10 : 10 + length].decode("latin-1"))
    kind = draw.randrange(6)
    if kind == 0:
        fields["shape"] = draw.choice(
            ((2**40,), (-1,), (2**62, 8), (10**30,), (1.5,), "x", (0,) * 70)
        )
    elif kind == 1:
        fields["descr"] = draw.choice(
            ("|O", "<f8", "|V0", "|S0", "<U99999999", "M8[as]", "x", None)
        )
    elif kind == 2:
        fields["descr"] = [("a", draw.choice(("|O", "<f4", "|V0"))), ("b", "<f4", (2**31,))]
    elif kind == 3:
        fields["fortran_order"] = draw.choice((True, 1, None))
    else:
        fields.pop(draw.choice(sorted(fields)))
    text = repr(fields)
    if kind == 5:
        text = draw.choice(
            ("(" * 3000, "__import__('os').system('touch canary')", "{" + "'a':1," * 999)
        )
    header = text.encode("latin-1", "replace") + b"\n"
    return content[:8] + struct.pack("<H", len(header)) + header + content[10 + length :]


def _safetensors(content: bytes, draw: random.Random) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    header, rest = content[8 : 8 + length], content[8 + length :]
    kind = draw.randrange(5)
    if kind == 0:
        return (
            struct.pack("<Q", draw.choice((0, 1, 2**31, 2**63, length - 1, length + 9)))
            + content[8:]
        )
    if kind == 1:  # what the metadata says, where it is JSON itself
        fields = json.loads(header)
        about = fields["__metadata__"]
        name = draw.choice(sorted(about))
        about[name] = _json(about[name].encode(), draw).decode()
        changed = json.dumps(fields).encode()
    else:
        changed = _json(header, draw)
    return struct.pack("<Q", len(changed)) + changed + rest


def _pickle(content: bytes, draw: random.Random) -> bytes:
    places = [place for _, _, place in pickletools.genops(content) if place is not None]
    at = draw.choice(places)
    following = [place for place in places if place > at]
    end = following[0] if following else len(content)
    call = draw.choice(("posix\nsystem", "os\nsystem", "builtins\nexec", "builtins\neval"))
    said = f"touch {CANARY}" if "system" in call else f"open({CANARY!r}, 'w').close()"
    inserted = draw.choice(
        (
            f"c{call}\n(S{said!r}\ntR".encode(),
            f"(S{said!r}\ni{call}\n".encode(),
            b"r\xff\xff\xff\xff",
            b"\x8d" + struct.pack("<Q", 1 << 40),
            b"\x96" + struct.pack("<Q", 1 << 40),
            b"]" * 3000,
            b"N" + b"\x85" * 3000,
            b"cnumpy.core.multiarray\n_reconstruct\n",
            b"(",
            b"0",
            b"e",
            b"u",
            b"R",
            b"b",
            content[at:end],
            content[at:end] * 500,
            b"",
        )
    )
    return content[:at] + inserted + content[draw.choice((at, end)) :]


# -- archives


def _zip(content: bytes, draw: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        method = archive.infolist()[0].compress_type
    place = draw.randrange(len(members))
    name, inner = members[place]
    kind = draw.randrange(10)
    if kind == 0:
        members[place] = (
            draw.choice((f"../{OUTSIDE}", f"/tmp/{CANARY}", "", "a/" * 200, "\x00")),
            inner,
        )
    elif kind == 1:
        members.append((name, inner))
    elif kind == 2:
        members[place] = name, bytes(_BOMB)
        method = zipfile.ZIP_DEFLATED
    elif kind == 3:
        del members[place]
    elif kind == 4:
        method = draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif kind == 5:
        members[place] = name, zip_of(members, zipfile.ZIP_DEFLATED)
    else:
        inner_name = "x.pkl" if name.endswith("data.pkl") else name
        members[place] = name, damaged(inner_name, inner, draw)
    out = bytearray(zip_of(members, method))
    if draw.random() < 0.2:  # a size that the table of contents says
        at = out.rfind(b"PK\x01\x02") + draw.choice((20, 24, 42))
        out[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x00" * 4, b"\xff\xff\xff\x7f"))
    return bytes(out)


def zip_of(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method, compresslevel=1) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, content)
    return file.getvalue()


def _gzip(content: bytes, draw: random.Random) -> bytes:
    inner = gzip.decompress(content)
    if draw.random() < 0.1:
        return gzip.compress(bytes(_BOMB), 1)
    return gzip.compress(_jsonl(inner, draw), 1)


_BY_NAME: tuple[tuple[tuple[str, ...], Callable[[bytes, random.Random], bytes]], ...] = (
    ((".json", ".json3", "tokenizer.model", ".done", ".task"), _json),
    ((".jsonl",), _jsonl),
    ((".csv", ".tsv"), _csv),
    ((".vtt", ".srt", ".txt"), _lines),
    ((".xml", ".rels"), _xml),
    ((".npy",), _npy),
    ((".safetensors",), _safetensors),
    ((".pkl",), _pickle),
    ((".npz", ".pth", ".xlsx", ".zip"), _zip),
    ((".gz",), _gzip),
)
