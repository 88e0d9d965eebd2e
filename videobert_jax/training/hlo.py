"""The text of a compiled program (XLA's HLO), read: what runs, and how often in one call."""

import collections
import dataclasses
import functools
import math
import re

# Bits of an element where the name does not end with them; a token is no array.
_ITEM_BITS = {"pred": 8, "token": 0, "opaque": 0}
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) (?:\(.*\) -> .*)?\{$")
_INSTRUCTION = re.compile(
    r"\s+(ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([a-z][\w-]*)\((.*?)\)(?:, (.*))?$"
)
_OPERAND = re.compile(r"%([\w.-]+)")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|branch_computations|true_computation|false_computation)="
    r"(\{[^}]*\}|%[\w.-]+)"
)
_MEMORY_SPACE = re.compile(r"S\((\d+)\)")
_TRIP_COUNT = re.compile(r'known_trip_count"?[:=]\{"?n"?:"?(\d+)')


class ProgramError(ValueError):
    """A program that says too little of itself to be counted."""


@dataclasses.dataclass(frozen=True)
class ArrayType:
    """One array of an instruction's result. memory_space: 0 is a device's large memory (HBM)."""

    dtype: str
    shape: tuple[int, ...]
    memory_space: int

    @property
    def bytes(self) -> int:
        return math.ceil(math.prod(self.shape) * _item_bits(self.dtype) / 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation. attributes: the text behind the operands."""

    name: str
    result: str
    opcode: str
    arguments: str
    attributes: str
    is_root: bool

    @functools.cached_property
    def arrays(self) -> tuple[ArrayType, ...]:
        """Arrays of the result, those of a tuple in their order."""
        return tuple(
            ArrayType(
                dtype,
                tuple(int(size) for size in sizes.split(",") if size),
                int(space[1]) if (space := _MEMORY_SPACE.search(layout)) else 0,
            )
            for dtype, sizes, layout in _ARRAY.findall(self.result)
        )

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self.arrays)

    @property
    def operands(self) -> list[str]:
        return _OPERAND.findall(self.arguments)

    @property
    def called(self) -> list[str]:
        """Computations that it runs or applies, in the order of the text."""
        return [
            name for group in _CALLED.findall(self.attributes) for name in _OPERAND.findall(group)
        ]

    def attribute(self, name: str) -> str:
        """The computation that an attribute such as body= names."""
        found = re.search(rf"\b{name}=%([\w.-]+)", self.attributes)
        if found is None:
            raise ProgramError(f"{self.opcode} {self.name} has no {name}.")
        return found[1]

    def number(self, name: str) -> int:
        """The value of an attribute such as index=3."""
        found = re.search(rf"\b{name}=(\d+)", self.attributes)
        if found is None:
            raise ProgramError(f"{self.opcode} {self.name} has no {name}.")
        return int(found[1])


@dataclasses.dataclass(frozen=True)
class Computation:
    """Instructions by name, in their order."""

    name: str
    instructions: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        return next(each for each in self.instructions.values() if each.is_root)

    def constant(self, name: str) -> int | None:
        """The integer that an instruction gives, where it is a constant or a copy of one."""
        found = self.instructions.get(name)
        while found is not None and found.opcode in ("copy", "convert", "bitcast"):
            found = self.instructions.get(found.operands[0])
        if found is None or found.opcode != "constant":
            return None
        return int(found.arguments) if re.fullmatch(r"-?\d+", found.arguments) else None


@dataclasses.dataclass(frozen=True)
class Program:
    """Computations by name, and the one that a call begins with."""

    computations: dict[str, Computation]
    entry: str

    @functools.cached_property
    def executions(self) -> dict[str, int]:
        """How often a computation runs in one call, by its name.

        Bodies of loops count as often as they are taken; of the branches of a conditional each
        counts, which is the most that can run. Computations applied to single elements (of a
        reduction) are left out. Raises ProgramError on a loop whose length the program does not
        tell.
        """
        times: collections.Counter[str] = collections.Counter()
        self._run(self.entry, 1, times)
        return dict(times)

    def _run(self, name: str, count: int, times: collections.Counter[str]) -> None:
        times[name] += count
        computation = self.computations[name]
        for instruction in computation.instructions.values():
            if instruction.opcode == "while":
                taken = self.trip_count(computation, instruction)
                self._run(instruction.attribute("body"), count * taken, times)
            elif instruction.opcode in ("fusion", "call", "conditional", "async-start"):
                for called in instruction.called:
                    self._run(called, count, times)

    def trip_count(self, computation: Computation, loop: Instruction) -> int:
        """How often the body of a `while` of `computation` is taken.

        XLA notes it beside the loop, or it follows from a counter that begins with a constant,
        grows by another, and is compared with a third. Raises ProgramError otherwise.
        """
        if known := _TRIP_COUNT.search(loop.attributes):
            return int(known[1])
        condition = self.computations[loop.attribute("condition")]
        compare = condition.root
        limits = [condition.constant(name) for name in compare.operands]
        counters = [condition.instructions.get(name) for name in compare.operands]
        if (
            compare.opcode == "compare"
            and "direction=LT" in compare.attributes
            and counters[0] is not None
            and counters[0].opcode == "get-tuple-element"
            and limits[1] is not None
        ):
            index = counters[0].number("index")
            first = computation.constant(_element(computation, loop.operands[0], index))
            step = self._step(self.computations[loop.attribute("body")], index)
            if first is not None and step is not None and step > 0:
                return max(0, -(-(limits[1] - first) // step))
        raise ProgramError(
            f"how often the loop {loop.name} is taken does not stand in the program; its counter "
            f"is compared by: {compare.name} = {compare.opcode}({compare.arguments})."
        )

    @staticmethod
    def _step(body: Computation, index: int) -> int | None:
        """What a loop's body adds to the counter that stands at `index` of its tuple."""
        last = body.instructions.get(_element(body, body.root.name, index))
        while last is not None and last.opcode == "copy":
            last = body.instructions.get(last.operands[0])
        if last is None or last.opcode != "add":
            return None
        added = [body.constant(name) for name in last.operands]
        return next((number for number in added if number is not None), None)


def _element(computation: Computation, name: str, index: int) -> str:
    """The name of what stands at `index` of a tuple, "" where it is not made here."""
    found = computation.instructions.get(name)
    if found is None or found.opcode != "tuple":
        return ""
    return found.operands[index]


def read(text: str) -> Program:
    """The Program of an HLO text. Raises ProgramError where the text is none."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None:
            if found := _COMPUTATION.match(line):
                current = Computation(found[2], {})
                computations[found[2]] = current
                entry = found[2] if found[1] else entry
        elif line.startswith("}"):
            current = None
        elif found := _INSTRUCTION.match(line):
            root, name, result, opcode, arguments, attributes = found.groups()
            current.instructions[name] = Instruction(
                name, result, opcode, arguments, attributes or "", root is not None
            )
        elif line.strip():
            raise ProgramError(f"a line of {current.name} is no instruction: {line.strip()[:200]}")
    if not entry:
        raise ProgramError("the text of the program has no ENTRY computation.")
    return Program(computations, entry)


def _item_bits(dtype: str) -> int:
    if dtype in _ITEM_BITS:
        return _ITEM_BITS[dtype]
    bits = re.match(r"[a-z]+(\d+)", dtype)  # f32, u8, s4, f8e4m3fn
    if bits is None:
        raise ProgramError(f"an array of {dtype!r}, whose size is not known.")
    return int(bits[1])
