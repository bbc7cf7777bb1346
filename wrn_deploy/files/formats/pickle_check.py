"""Checks a pickle before it is unpickled: sizes, counts, nesting, hashing; makes no object; the standard library only.

Python's unpickler believes what it reads: a length or a memo index of 4 bytes makes it take gigabytes, and the hash of
a tuple that nests a million deep overflows the C stack, which ends the process. This pass follows the opcodes with a
number in place of each object. It does not judge which classes a pickle names.
"""

from __future__ import annotations

import pickletools
from array import array
from dataclasses import dataclass
from typing import BinaryIO

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget

__all__ = ["check_pickle"]

READ_BYTES = 2**20
LEAF, WIDE = 0, 1  # cells of all values that hold no others: WIDE for integers of more than 8 bytes
# Python's hashes of tuples and integers are not seeded: keys that collide take time by the square of their number.
ODD_KEYS = 10_000  # tuples, integers of more than 8 bytes and objects, each with all that it holds
UNSET = 2**32 - 1

LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4, pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}  # fmt: skip
FILLS = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})  # change the lowest they take
KEYS = {"SETITEM": 2, "SETITEMS": 2, "DICT": 2, "ADDITEMS": 1, "FROZENSET": 1}  # every second one or each is a key
WIDTHS = {"INT": 20, "LONG": 20, "LONG1": 8, "LONG4": 8}  # digits or bytes; an integer with more is wide
MOVES, IGNORED = frozenset({"MARK", "POP", "POP_MARK", "DUP"}), frozenset({"PROTO", "FRAME"})
NOT_PLAIN = ("EMPTY_", "MARK", "GET", "BINGET", "LONG_BINGET")


@dataclass(frozen=True, slots=True)
class _Opcode:
    """What follows the opcode in the file, and what it does to the stack."""

    name: str
    lines: int  # texts up to the end of a line
    length: int  # bytes of the length of what follows
    fixed: int  # bytes of what follows
    takes: int  # objects, below a mark if it takes all down to one
    to_mark: bool
    plain: bool  # gives a value that holds no others, and takes none
    fills: bool
    keys: int


def _opcode(info: pickletools.OpcodeInfo) -> _Opcode:
    size = 0 if info.arg is None else info.arg.n
    before = info.stack_before
    to_mark = pickletools.markobject in before
    return _Opcode(
        name=info.name,
        lines=(2 if info.name in ("GLOBAL", "INST") else 1) if size == pickletools.UP_TO_NEWLINE else 0,
        length=LENGTHS.get(size, 0),
        fixed=max(0, size),
        takes=before.index(pickletools.markobject) if to_mark else len(before),
        to_mark=to_mark,
        plain=not before and bool(info.stack_after) and not info.name.startswith(NOT_PLAIN),
        fills=info.name in FILLS,
        keys=KEYS.get(info.name, 0),
    )


OPCODES = {ord(info.code): _opcode(info) for info in pickletools.opcodes}


def check_pickle(stream: BinaryIO, size: int, name: object) -> None:
    """Checks the pickle at the stream's place, and leaves the stream behind it; seek back to unpickle it.

    It holds at most `members` opcodes and values (what is referred to twice counts twice), at most `nesting` levels, no
    length beyond its end, no memo index beyond the number of its opcodes, and few keys whose hashes could be chosen.
    A list, dictionary or object may hold itself, so that who walks the result must remember where it was.

    Args:
        stream: reads small pieces, so it should be buffered.
        size: the number of bytes from the stream's place to its end; more may follow the pickle.
        name: the file's name for errors.

    Raises:
        DamagedFile: it is no pickle, or one that no pickler writes.
        OverLimit: it is larger or nested deeper than the budget allows.
    """
    source, machine, limits = _Source(stream, size, name), _Machine(name), budget()
    count = 0
    while True:
        opcode = OPCODES.get(source.byte())
        count += 1
        if opcode is None:
            raise _damaged(name, f"an unknown opcode at byte {source.place - 1}")
        argument = source.argument(opcode)
        if count > limits.members:
            limits.check("members", count, name)
        wide = source.skipped > WIDTHS.get(opcode.name, source.skipped)
        if opcode.plain:
            machine.stack.append(WIDE if wide else LEAF)
        elif opcode.name == "STOP":
            machine.floor(1)
            return
        elif opcode.name in MOVES:
            machine.move(opcode.name)
        elif "PUT" in opcode.name or opcode.name == "MEMOIZE":
            machine.put(_index(argument, opcode, name) if argument else len(machine.memo), count)
        elif "GET" in opcode.name:
            machine.get(_index(argument, opcode, name))
        elif opcode.name not in IGNORED:
            machine.run(opcode)


class _Source:
    """The stream, and how many of its bytes are left."""

    def __init__(self, stream: BinaryIO, size: int, name: object) -> None:
        self.place = 0
        self.skipped = 0  # bytes of the last argument whose length was not fixed
        self._stream, self._size, self._name = stream, size, name

    def byte(self) -> int:
        return self._read(1)[0]

    def argument(self, opcode: _Opcode) -> bytes:
        """Returns what stands behind an opcode; only its beginning if the length is not fixed."""
        if not (opcode.fixed or opcode.length or opcode.lines):
            return b""
        if opcode.fixed:
            content = self._read(opcode.fixed)
            if opcode.name == "FRAME":
                self._check_left(int.from_bytes(content, "little"))
            return content
        if opcode.length:
            length = int.from_bytes(self._read(opcode.length), "little", signed=opcode.name == "LONG4")
            self._check_left(length)
            self.skipped = length
            while length:
                length -= len(self._read(min(length, READ_BYTES)))
            return b""
        line = b""
        for _ in range(opcode.lines):
            line = self._line()
        return line

    def _line(self) -> bytes:
        first = part = self._stream.readline(READ_BYTES)
        self.skipped = len(part)
        while part and not part.endswith(b"\n"):
            part = self._stream.readline(READ_BYTES)
            self.skipped += len(part)
        self.place += self.skipped
        if not part:
            raise _damaged(self._name, "it ends in the middle")
        return first

    def _read(self, count: int) -> bytes:
        content = self._stream.read(count)
        if len(content) < count:
            raise _damaged(self._name, "it ends in the middle")
        self.place += count
        return content

    def _check_left(self, length: int) -> None:
        if not 0 <= length <= self._size - self.place:
            raise _damaged(self._name, f"a value of {length:,} bytes at byte {self.place}, but fewer are left")


class _Machine:
    """The stack and the memo of an unpickler; an object is the number of its cell: its depth, and all that it holds."""

    def __init__(self, name: object) -> None:
        self.stack, self.marks, self.memo = array("I"), array("I"), array("I")
        self._depths, self._weights = array("I", [0, 0]), array("Q", [1, 1])
        self._odd_keys = 0
        self._name, self._limits = name, budget()

    def move(self, name: str) -> None:
        top = len(self.stack)
        if name == "MARK":
            self.marks.append(top)
        elif name == "DUP":
            self.stack.append(self.stack[self.floor(1)])
        elif name == "POP_MARK" or (self.marks and self.marks[-1] == top):
            del self.stack[self._mark() :]
        else:
            del self.stack[self.floor(1) :]

    def put(self, index: int, most: int) -> None:
        """Remembers the top of the stack. Picklers count their memo from 0 or 1, so `most` opcodes need no more."""
        top = self.stack[self.floor(1)]
        if index > most:
            raise _damaged(self._name, f"a memo index of {index:,} after {most:,} opcodes")
        while len(self.memo) <= index:
            self.memo.append(UNSET)
        self.memo[index] = top

    def get(self, index: int) -> None:
        if index >= len(self.memo) or self.memo[index] == UNSET:
            raise _damaged(self._name, f"it refers to memo index {index:,}, which it has not set")
        self.stack.append(self.memo[index])

    def run(self, opcode: _Opcode) -> None:
        """Takes objects from the stack and gives one that holds them."""
        mark = self._mark() if opcode.to_mark else len(self.stack)
        items = self.stack[mark:]
        start = self.floor(opcode.takes, mark)
        items = self.stack[start:mark] + items
        del self.stack[start:]
        if opcode.fills:
            self._hash(items[1:], opcode.keys)
            self.stack.append(self._filled(items[0], items[1:]))
        else:
            self._hash(items, opcode.keys)
            self.stack.append(self._filled(self._cell(), items))

    def floor(self, count: int, top: int | None = None) -> int:
        """Where the highest `count` objects below `top` begin; none lies below the last mark."""
        start = (len(self.stack) if top is None else top) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise _damaged(self._name, "too few objects on its stack")
        return start

    def _filled(self, cell: int, items: array[int]) -> int:
        if cell in (LEAF, WIDE):
            cell = self._cell()
        if items:
            depth = 1 + max(map(self._depths.__getitem__, items))
            self._depths[cell] = max(depth, self._depths[cell])
            weight = self._weights[cell] + sum(map(self._weights.__getitem__, items))
            self._limits.check("members", weight, self._name)
            self._limits.check("nesting", self._depths[cell], self._name)
            self._weights[cell] = weight
        return cell

    def _cell(self) -> int:
        self._depths.append(1)
        self._weights.append(1)
        return len(self._depths) - 1

    def _hash(self, items: array[int], step: int) -> None:
        """Counts the keys among `items` that are not plain."""
        if not step:
            return
        self._odd_keys += sum(self._weights[key] for key in items[::step] if key != LEAF)
        if self._odd_keys > ODD_KEYS:
            raise _damaged(self._name, f"more than {ODD_KEYS:,} keys that are neither text nor small numbers")

    def _mark(self) -> int:
        if not self.marks:
            raise _damaged(self._name, "no mark on its stack")
        return self.marks.pop()


def _index(argument: bytes, opcode: _Opcode, name: object) -> int:
    if not opcode.lines:
        return int.from_bytes(argument, "little")
    text = argument[:20].strip()
    if not text.isdigit():
        raise _damaged(name, f"the memo index {text!r}")
    return int(text)


def _damaged(name: object, reason: str) -> DamagedFile:
    return DamagedFile(f"{name} is a damaged pickle ({reason}): expected an intact file; download it again")
