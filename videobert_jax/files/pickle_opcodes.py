"""Opcodes of pickle protocols 0 to 5 -> what the machine does. `pickletools` describes each."""

import struct
from collections.abc import Callable
from typing import Any

from videobert_jax.files.errors import ArrayFileError
from videobert_jax.files.pickle_machine import Machine

Handler = Callable[[Machine], Any]


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.update([key, value])


def _append(machine: Machine) -> None:
    machine.extend([machine.pop()])


def _last(count: int) -> Handler:
    return lambda m: m.make_tuple([m.pop() for _ in range(count)][::-1])


def _protocol(machine: Machine) -> None:
    version = machine.size(1)
    if version > 5:
        raise ArrayFileError(f"a pickle of protocol {version}, expected 0 to 5")


def _instance_of_name(machine: Machine) -> None:
    items = machine.pop_marked()
    machine.find(machine.line().decode(), machine.line().decode())
    machine.instance([machine.pop(), *items])


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.find(module, name)


def _float(machine: Machine) -> float:
    (value,) = struct.unpack(">d", machine.take(8))
    return value


def _signed(machine: Machine) -> int:
    (value,) = struct.unpack("<i", machine.take(4))
    return value


HANDLERS: dict[bytes, Handler] = {
    # The stack and the memo.
    b"(": Machine.mark,
    b"0": Machine.drop,
    b"1": lambda m: m.pop_marked(),
    b"2": lambda m: m.push(m.top()),
    b"g": lambda m: m.get(int(m.digits())),
    b"h": lambda m: m.get(m.size(1)),
    b"j": lambda m: m.get(m.size(4)),
    b"p": lambda m: m.put(int(m.digits())),
    b"q": lambda m: m.put(m.size(1)),
    b"r": lambda m: m.put(m.size(4)),
    b"\x94": Machine.memoize,
    b"\x80": _protocol,
    b"\x95": lambda m: m.take(8),  # a frame: how much to read ahead, which needs no obeying
    # Numbers.
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"F": lambda m: m.push(float(m.digits())),
    b"G": lambda m: m.push(_float(m)),
    b"I": Machine.decimal,
    b"L": Machine.decimal,
    b"J": lambda m: m.push(_signed(m)),
    b"K": lambda m: m.push(m.size(1)),
    b"M": lambda m: m.push(m.size(2)),
    b"\x8a": lambda m: m.integer(m.size(1)),
    b"\x8b": lambda m: m.integer(m.size(4)),
    # Text and bytes. Python 2's strings are one byte a character, as NumPy's convention says.
    b"S": Machine.quoted,
    b"T": lambda m: m.old_text(m.size(4)),
    b"U": lambda m: m.old_text(m.size(1)),
    b"V": Machine.raw_text,
    b"X": lambda m: m.text(m.size(4)),
    b"\x8c": lambda m: m.text(m.size(1)),
    b"\x8d": lambda m: m.text(m.size(8)),
    b"B": lambda m: m.make_bytes(m.size(4)),
    b"C": lambda m: m.make_bytes(m.size(1)),
    b"\x8e": lambda m: m.make_bytes(m.size(8)),
    b"\x96": lambda m: m.make_bytes(m.size(8), bytearray),
    # Containers.
    b"]": lambda m: m.empty(list),
    b"}": lambda m: m.empty(dict),
    b"\x8f": lambda m: m.empty(set),
    b")": lambda m: m.make_tuple([]),
    b"l": lambda m: m.make_list(m.pop_marked()),
    b"d": lambda m: m.make_dict(m.pop_marked()),
    b"t": lambda m: m.make_tuple(m.pop_marked()),
    b"\x91": lambda m: m.make_frozenset(m.pop_marked()),
    b"\x85": _last(1),
    b"\x86": _last(2),
    b"\x87": _last(3),
    b"a": _append,
    b"e": lambda m: m.extend(m.pop_marked()),
    b"s": _set_item,
    b"u": lambda m: m.update(m.pop_marked()),
    b"\x90": lambda m: m.add(m.pop_marked()),
    # What the allow-list builds.
    b"c": lambda m: m.find(m.line().decode(), m.line().decode()),
    b"\x93": _stack_global,
    b"R": Machine.reduce,
    b"\x81": Machine.reduce,
    b"i": _instance_of_name,
    b"o": lambda m: m.instance(m.pop_marked()),
    b"b": Machine.build,
    b"P": lambda m: m.persist(m.line().decode()),
    b"Q": lambda m: m.persist(m.pop()),
}


def run(machine: Machine) -> Any:
    """The value of the pickle that the machine stands at.

    Raises ArrayFileError, or what `errors.DAMAGE` lists, where there is none.
    """
    while True:
        code = machine.next_code()
        handler = HANDLERS.get(code)
        if handler is not None:
            handler(machine)
        elif code == b".":
            return machine.result()
        elif not code:
            raise ArrayFileError("a pickle that ends before its end mark; it is cut off")
        else:
            raise ArrayFileError(f"a pickle with the code {code!r}, which is not read")
