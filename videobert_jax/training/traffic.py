"""Bytes that a compiled program moves between a device and its large memory in one call.

XLA's own count of a program takes the body of a loop once. Here every instruction counts as often
as it runs, what stands in fast memory on the chip not at all, and of an array of which a loop
reads or writes one part a turn, the part. A collective that goes on beside products, which a chain
of fusions hands from one to the next, counts once, where it starts. Padding to the tiles of the
device is left out.
"""

import re

from videobert_jax.training import collectives, hlo

# They name memory, wait, or run other computations, whose instructions are counted themselves.
_MOVE_NOTHING = frozenset(
    "parameter constant tuple get-tuple-element bitcast while call conditional after-all "
    "partition-id replica-id opt-barrier domain copy-done slice-done send-done recv-done "
    "all-gather-done all-reduce-done collective-permute-done async-start async-update async-done "
    "send recv iota".split()
)
_NAME_OPERANDS = ("slice-start", "all-gather-start", "collective-permute-start")
_PARTS = ("dynamic-slice", "slice", "gather")
_ASYNC_COLLECTIVE = re.compile(r'custom_call_target="AsyncCollective(Start|Done)"')


def bytes_accessed(program: hlo.Program) -> int:
    """Bytes read from and written to the large memory in one call, by one device."""
    fused = {
        called
        for computation in program.computations.values()
        for instruction in computation.instructions.values()
        if instruction.opcode == "fusion"
        for called in instruction.called
    }
    return sum(
        count * _accessed(program, program.computations[name])
        for name, count in program.executions.items()
        if name not in fused
    )


def _accessed(program: hlo.Program, computation: hlo.Computation) -> int:
    total = 0
    for instruction in computation.instructions.values():
        if instruction.opcode in _MOVE_NOTHING:
            continue
        if instruction.opcode == "fusion":
            total += _fusion(program, computation, instruction)
        else:
            total += _single(computation, instruction)
    return total


def _single(computation: hlo.Computation, instruction: hlo.Instruction) -> int:
    """Bytes of an instruction by itself."""
    operands = [computation.instructions[name] for name in instruction.operands]
    result = instruction.arrays
    if instruction.opcode == "dynamic-update-slice":
        target, update = operands[0], operands[1]
        return _in_memory(update) + (update.bytes if _in_memory(target) else 0)
    if instruction.opcode == "copy-start":  # (to, from, context)
        result = result[:1]
    elif instruction.opcode in _NAME_OPERANDS:  # (from, to, context)
        count = sum(len(operand.arrays) for operand in operands)
        result = result[count : 2 * count]
    written = sum(array.bytes for array in result if array.memory_space == 0)
    if instruction.opcode == "slice-start":
        return written + (result[0].bytes if _in_memory(operands[0]) else 0)
    if instruction.opcode in _PARTS:
        return written + (instruction.bytes if _in_memory(operands[0]) else 0)
    return written + sum(_in_memory(operand) for operand in operands)


def _fusion(program: hlo.Program, outer: hlo.Computation, instruction: hlo.Instruction) -> int:
    """Bytes of a fusion: of operands and results, or of the parts that it takes of them."""
    inner = program.computations[instruction.called[0]]
    if (said := _ASYNC_COLLECTIVE.search(inner.root.attributes)) is not None:
        return _collective(outer, instruction) if said[1] == "Start" else 0
    parameters = _parameters(inner)
    updated, handed_on = _updated(inner), _handed_on(inner)
    total = 0
    for number, name in enumerate(instruction.operands):
        operand = outer.instructions[name]
        if not _in_memory(operand):
            continue
        if parameters[number] not in updated | handed_on:
            total += _read(program, inner, parameters[number], operand.bytes)
    roots = _elements(inner, inner.root)
    for array, root in zip(instruction.arrays, roots, strict=False):
        if array.memory_space == 0 and root not in handed_on:
            total += _written(inner, root, array.bytes)
    return total


def _collective(outer: hlo.Computation, start: hlo.Instruction) -> int:
    """Bytes of a collective by the fusion that starts it, whose results are its operands, what it
    makes of them, and flags."""
    operands = [outer.instructions[name] for name in start.operands]
    made = start.arrays[sum(len(operand.arrays) for operand in operands) :]
    read = sum(_in_memory(operand) for operand in operands)
    return read + sum(array.bytes for array in made if array.memory_space == 0)


def _handed_on(inner: hlo.Computation) -> set[str]:
    """What a fusion that goes on with a collective gets and gives: parameters that are results as
    they are, and the collective, which each fusion of the chain repeats."""
    instructions, results = inner.instructions, _elements(inner, inner.root)
    repeated = {each.name for each in instructions.values() if each.opcode in collectives.KINDS}
    if repeated.isdisjoint(results):
        return set()
    others = instructions.keys() - {inner.root.name, *repeated}
    used = {name for other in others for name in instructions[other].operands}
    as_they_are = {name for name in results if instructions[name].opcode == "parameter"}
    return (repeated & set(results)) | (as_they_are - used)


def _read(program: hlo.Program, inner: hlo.Computation, name: str, whole: int) -> int:
    """Bytes that a computation reads of a value: all, unless only parts are taken of it, here or in
    the fusions that it holds."""
    users = [each for each in inner.instructions.values() if name in each.operands]
    parts = 0
    for user in users:
        if user.opcode in _PARTS:
            parts += user.bytes
        elif user.opcode == "bitcast":
            parts += _read(program, inner, user.name, whole)
        elif user.opcode == "fusion":
            held = program.computations[user.called[0]]
            parameters = _parameters(held)
            for number, operand in enumerate(user.operands):
                if operand == name:
                    parts += _read(program, held, parameters[number], whole)
        else:
            return whole
    return min(whole, parts) if users else whole


def _parameters(inner: hlo.Computation) -> dict[int, str]:
    """Names of a computation's parameters by their numbers."""
    parameters = [each for each in inner.instructions.values() if each.opcode == "parameter"]
    return {int(each.arguments): each.name for each in parameters}


def _updated(inner: hlo.Computation) -> set[str]:
    """Parameters in which a part is written in place."""
    found = set()
    for instruction in inner.instructions.values():
        if instruction.opcode == "dynamic-update-slice":
            found.add(_behind_bitcasts(inner, instruction.operands[0]))
    return found


def _written(inner: hlo.Computation, root: str, whole: int) -> int:
    last = inner.instructions[_behind_bitcasts(inner, root)]
    if last.opcode == "dynamic-update-slice":
        return inner.instructions[last.operands[1]].bytes
    return whole


def _behind_bitcasts(inner: hlo.Computation, name: str) -> str:
    instruction = inner.instructions[name]
    while instruction.opcode == "bitcast":
        instruction = inner.instructions[instruction.operands[0]]
    return instruction.name


def _elements(inner: hlo.Computation, root: hlo.Instruction) -> list[str]:
    return root.operands if root.opcode == "tuple" else [root.name]


def _in_memory(instruction: hlo.Instruction) -> int:
    """Bytes of a value that stand in the large memory."""
    return sum(array.bytes for array in instruction.arrays if array.memory_space == 0)
