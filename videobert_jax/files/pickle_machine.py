"""The pickle machine, protocols 0 to 5, without anything that could run code.

It follows the opcodes that `pickletools` of the standard library describes. Globals are looked up
in an allow-list of our own functions; nothing is ever imported, and no object's own `__reduce__`,
`__setstate__` or `__init__` takes part but those of NumPy arrays and dtypes, whose states are
checked before. Python's own unpickler is not used even with its `find_class` replaced: it takes
memory for sizes that the file only claims (a memo index, a bytearray's length).

A container is finished once it stands in another. So nothing refers to itself, nesting is known
at every step, and is bounded: some of Python's types overflow the C stack when deep nests of them
are freed.
"""

import collections
import functools
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from videobert_jax.files import pickle_values
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.files.pickle_values import Argument, Budget, Constructor

MAX_DEPTH = 200
MAX_NUMBER_BYTES = 255
# Larger sizes are compared with what is left of the file before they are read.
_SMALL = 1 << 16
_CONTAINER_BYTES = 200
_SET_BYTES = 350
_TUPLE_BYTES = 64
_ENTRY_BYTES = 100
_ESCAPED = re.compile(rb"""(?:[^\\]|\\(?:[\\'"abfnrtv]|x[0-9a-fA-F]{2}|[0-7]{1,3}))*""", re.S)
_LEAVES = frozenset({str, bytes, bytearray, int, float, bool, complex, type(None)})
_CONTAINERS = frozenset(
    {list, dict, set, tuple, frozenset, collections.OrderedDict, collections.defaultdict}
)
_DICTIONARIES = (dict, collections.OrderedDict, collections.defaultdict)


class Machine:
    """Reads one pickle from a file that stands at its start.

    Args:
        file: Open for reading bytes.
        end: Position at which the file ends.
        allowed: (module, name) -> what stands for that global.
        budget: Of the memory of all that is built.
        persistent: Value of a persistent id, for formats that keep arrays outside the pickle.
    """

    def __init__(
        self,
        file: io.BufferedIOBase,
        end: int,
        allowed: Mapping[tuple[str, str], Any],
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
    ):
        self._file, self._end = file, end
        self._allowed, self._budget, self._persistent = allowed, budget, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: list[Any] = []
        self._sparse_memo: dict[int, Any] = {}
        self.next_code = functools.partial(file.read, 1)
        self._depth: dict[int, int] = {}  # of containers by id; negative once it stands in another
        self._holds_arguments: set[int] = set()  # tuples by id
        self._unfinished: dict[int, Any] = {}  # arrays and dtypes whose state has not come yet

    def result(self) -> Any:
        """The value on top of the stack, when the pickle has ended."""
        value = self.pop()
        self.place((value,))
        return value

    # Reading.

    def take(self, size: int) -> bytes:
        if size > _SMALL and size > self._end - self._file.tell():
            raise ArrayFileError(
                f"a pickle that claims {size} bytes, with {self._end - self._file.tell()} left"
            )
        content = self._file.read(size)
        if len(content) != size:
            raise ArrayFileError("a pickle that ends inside a value; it is cut off")
        return content

    def line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ArrayFileError("a pickle that ends inside a line; it is cut off")
        return line[:-1]

    def digits(self) -> str:
        line = self.line()
        if len(line) > 3 * MAX_NUMBER_BYTES:
            raise ArrayFileError(f"a number of {len(line)} digits")
        return line.decode("ascii")

    def size(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    # The stack.

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        if not self._stack or (self._marks and self._marks[-1] == len(self._stack)):
            raise ArrayFileError("a pickle that takes more from its stack than is there")
        return self._stack.pop()

    def pop_marked(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def top(self) -> Any:
        value = self.pop()
        self._stack.append(value)
        return value

    def mark(self) -> None:
        self._budget.take(40)
        self._marks.append(len(self._stack))

    def drop(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self.pop()

    # Containers.

    def place(self, items: Any, *, arguments: bool = False) -> int:
        """Depth of the deepest of `items`, which from now on are finished."""
        deepest = 0
        for item in items:
            kind = type(item)
            if kind in _LEAVES:
                continue
            if kind in _CONTAINERS or kind is np.ndarray:
                key = id(item)
                if key in self._holds_arguments and not arguments:
                    raise ArrayFileError("a class or function where a value was expected")
                self._unfinished.pop(key, None)
                depth = abs(self._depth.get(key, 0))
                if depth:
                    self._depth[key] = -depth
                    deepest = max(deepest, depth)
                elif kind is not np.ndarray or item.dtype.hasobject:
                    deepest = max(deepest, 1)
            elif isinstance(item, np.dtype):
                # A dtype in use is never changed: arrays would reach beyond their memory.
                self._unfinished.pop(id(item), None)
            elif isinstance(item, Argument) and not arguments:
                raise ArrayFileError("a class or function where a value was expected")
        if deepest > MAX_DEPTH:
            raise ArrayFileError(f"containers nested deeper than {MAX_DEPTH}")
        return deepest

    def new(self, container: Any, depth: int = 0) -> Any:
        self._budget.take(
            _SET_BYTES if isinstance(container, set | frozenset) else _CONTAINER_BYTES
        )
        self._depth[id(container)] = depth + 1
        self._holds_arguments.discard(id(container))  # of an object that is gone
        return container

    def target(self, kinds: tuple[type, ...]) -> Any:
        """The container on top of the stack, which must not stand in another yet."""
        target = self.top()
        if type(target) not in kinds or self._depth.get(id(target), 0) < 1:
            raise ArrayFileError(
                "a container that is filled after it was put into another, or that holds itself; "
                "expected plain nested values"
            )
        return target

    def deepen(self, target: Any, depth: int) -> None:
        if self._depth[id(target)] < 0:
            raise ArrayFileError("a container that holds itself")
        self._depth[id(target)] = max(self._depth[id(target)], depth + 1)

    def extend(self, items: list[Any]) -> None:
        target = self.target((list,))
        self._budget.take(10 * len(items))
        target.extend(items)
        self.deepen(target, self.place(items))

    def update(self, items: list[Any]) -> None:
        target = self.target(_DICTIONARIES)
        self._budget.take(_ENTRY_BYTES * (len(items) // 2))
        self._put_pairs(target, items)
        self.deepen(target, self.place(items))

    def _put_pairs(self, target: dict, items: list[Any]) -> None:
        keys = items[::2]
        for key in keys:
            if type(key) is not str:
                pickle_values.check_key(key)
        target.update(zip(keys, items[1::2], strict=True))

    def make_tuple(self, items: list[Any]) -> None:
        self._budget.take(8 * len(items))
        depth = self.place(items, arguments=True)
        value = tuple(items)
        if not items:  # the empty tuple is one object for all
            self.push(value)
            return
        if depth:
            self.push(self.new(value, depth))
        else:  # of plain values: never filled, and not worth an entry
            self._budget.take(_TUPLE_BYTES)
            self._depth.pop(id(value), None)
            self._holds_arguments.discard(id(value))
            self.push(value)
        holds = any(isinstance(x, Argument) or id(x) in self._holds_arguments for x in items)
        if holds:
            self._holds_arguments.add(id(value))

    def members(self, items: list[Any]) -> int:
        for item in items:
            pickle_values.check_key(item)
        self._budget.take(_ENTRY_BYTES * len(items))
        return self.place(items)

    def empty(self, kind: Callable[[], Any]) -> None:
        self.push(self.new(kind()))

    def make_list(self, items: list[Any]) -> None:
        self.empty(list)
        self.extend(items)

    def make_dict(self, items: list[Any]) -> None:
        self.empty(dict)
        self.update(items)

    def add(self, items: list[Any]) -> None:
        target = self.target((set,))
        depth = self.members(items)
        target.update(items)
        self.deepen(target, depth)

    def make_frozenset(self, items: list[Any]) -> None:
        depth = self.members(items)
        self.push(self.new(frozenset(items), depth))

    # Values, the memo, globals.

    def get(self, index: int) -> None:
        memo = self._memo
        self.push(memo[index] if 0 <= index < len(memo) else self._sparse_memo[index])

    def put(self, index: int) -> None:
        value, memo = self.top(), self._memo
        if index == len(memo):
            memo.append(value)
        elif 0 <= index < len(memo):
            memo[index] = value
        else:
            self._budget.take(_ENTRY_BYTES)
            self._sparse_memo[index] = value

    def memoize(self) -> None:
        self.put(len(self._memo) + len(self._sparse_memo))

    def text(self, size: int) -> None:
        self._budget.take(size + 50)
        self.push(str(self.take(size), "utf-8", "surrogatepass"))

    def old_text(self, size: int) -> None:
        self._budget.take(size + 50)
        self.push(str(self.take(size), "latin-1"))

    def make_bytes(self, size: int, kind: Callable[[bytes], Any] = bytes) -> None:
        self._budget.take(size + 50)
        self.push(kind(self.take(size)))

    def quoted(self) -> None:
        line = self.line().strip()
        inner = line[1:-1]
        if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
            raise ArrayFileError("a pickle's text without its quotes")
        if not _ESCAPED.fullmatch(inner):
            raise ArrayFileError("a pickle's text with an unknown escape")
        self._budget.take(len(inner) + 50)
        self.push(inner.decode("unicode_escape"))

    def raw_text(self) -> None:
        line = self.line()
        self._budget.take(len(line) + 50)
        self.push(str(line, "raw-unicode-escape"))

    def integer(self, size: int) -> None:
        if size > MAX_NUMBER_BYTES:
            raise ArrayFileError(f"an integer of {size} bytes, expected {MAX_NUMBER_BYTES} or less")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def decimal(self) -> None:
        digits = self.digits()
        # Protocol 0 writes booleans as these two.
        if digits in ("00", "01"):
            self.push(digits == "01")
        else:
            self.push(int(digits.removesuffix("L")))

    def find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ArrayFileError("a global whose name is no text")
        if (module, name) not in self._allowed:
            raise ArrayFileError(
                f"holds `{module}.{name}`, which may run code when read, or is an object of a "
                "class; expected numbers, text, containers and arrays: save it again as these"
            )
        self.push(self._allowed[module, name])

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Constructor) or type(arguments) is not tuple:
            raise ArrayFileError("a call of what is no function of the allow-list")
        depth = self.place(arguments, arguments=True)
        value = function.build(arguments, self._budget)
        if type(value) in _CONTAINERS and value != ():
            self.new(value, depth)
        if function.unfinished:
            self._unfinished[id(value)] = value
        self.push(value)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.call(function, arguments)

    def instance(self, items: list[Any]) -> None:
        function, *arguments = items
        self.place(arguments, arguments=True)
        self.call(function, tuple(arguments))

    def build(self) -> None:
        state = self.pop()
        depth = self.place((state,))
        target = self.top()
        if self._unfinished.pop(id(target), None) is not None:
            if isinstance(target, np.ndarray):
                pickle_values.set_array_state(target, state, self._budget)
                if target.dtype.hasobject:
                    self.new(target, depth)
            else:
                pickle_values.set_dtype_state(target, state)
        else:
            # Attributes of a dictionary, such as PyTorch's versions of a network's parts.
            self.target((collections.OrderedDict,))

    def persist(self, identity: Any) -> None:
        if self._persistent is None:
            raise ArrayFileError("a pickle that refers to something outside itself")
        self.place((identity,), arguments=True)
        self.push(self._persistent(identity))
