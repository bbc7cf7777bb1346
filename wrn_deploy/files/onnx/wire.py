"""Reads the structure of an ONNX file without its weights: nodes, attributes, sizes; the standard library only.

It walks the protobuf encoding and skips what tensors hold, so that a file can be judged before a library reads it. A
field that occurs again is read again, as protobuf merges them. Numbers of fields are those of `onnx.proto3`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget

__all__ = ["Data", "Function", "Graph", "Model", "Node", "Tensor", "read_model"]

Data = memoryview
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types
FIXED = {FIXED64: 8, FIXED32: 4}
FIELDS = 16  # in a node and what belongs to it, on average
TAG_BYTES, VARINT_BYTES = 5, 10
INT64 = 7  # its number among the types
INT64_DATA, RAW_DATA = 7, 9  # fields of a tensor
PAYLOAD = (4, 5, 6, INT64_DATA, 10, 11)  # its fields with data of one type
SMALL = 1024  # elements; constants that say a shape, axes or pads have fewer


@dataclass(slots=True)
class Tensor:
    """A tensor: its declared size, the bytes that it has in the file, and where other files hold it."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    type: int = 0
    payload: int = 0  # bytes of all its data fields
    raw: int | None = None  # bytes of raw_data
    numbers: list[int] | None = None  # of a small int64 tensor
    external: dict[str, str] | None = None
    sparse: bool = False  # the size of a sparse tensor, whose values and indices are tensors of their own


@dataclass(slots=True)
class Node:
    """A node. `ints` has its attributes that are integers; `constant` the tensor of a Constant."""

    op_type: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    ints: dict[str, list[int]] = field(default_factory=dict)
    strings: dict[str, str] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    sparse: int = 0
    graphs: list[Graph] = field(default_factory=list)


@dataclass(slots=True)
class Graph:
    """A graph; `inputs` have None for each size that is not fixed, or None for a shape that is not given."""

    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    inputs: dict[str, list[int | None] | None] = field(default_factory=dict)
    sparse: int = 0


@dataclass(slots=True)
class Function:
    """A function of the file: what a node with its name stands for."""

    name: str = ""
    domain: str = ""
    nodes: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Model:
    """All of a file that is judged here."""

    graphs: list[Graph] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    training: int = 0

    @property
    def graph(self) -> Graph:
        """The main graph, merged from all parts as protobuf does."""
        whole = Graph()
        for part in self.graphs:
            whole.nodes += part.nodes
            whole.tensors += part.tensors
            whole.inputs |= part.inputs
            whole.sparse += part.sparse
        return whole


def read_model(data: Data, name: object, expected: str) -> Model:
    """Reads the structure of the ONNX file `name`; `expected` ends the error's text.

    Raises:
        DamagedFile: it is not protobuf, or has names that are not UTF-8.
        OverLimit: it has more fields or deeper graphs than the budget allows.
    """
    try:
        return _Reader(data, name).model()
    except (IndexError, UnicodeDecodeError) as error:
        raise DamagedFile(f"{name} is not an ONNX file ({error}): {expected}") from error


class _Reader:
    def __init__(self, data: Data, name: object) -> None:
        self._data, self._name, self._limits = data, name, budget()
        self._count = self._parts = 0

    def model(self) -> Model:
        made = Model()
        for number, kind, value, end in self._fields(0, len(self._data)):
            if kind == BYTES and number == 7:
                made.graphs.append(self._graph(value, end, 1))
            elif kind == BYTES and number == 20:
                made.training += 1
            elif kind == BYTES and number == 25:
                made.functions.append(self._function(value, end))
        return made

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Each field's number, wire type, and its number or the start of its bytes, and their end."""
        place = start
        while place < end:
            tag, place = self._varint(place, end, TAG_BYTES)
            number, kind = tag >> 3, tag & 7
            self._add(1)
            if not number or tag >= 2**32:
                raise IndexError(f"field {number} at byte {place}")
            if kind == VARINT:
                value, place = self._varint(place, end, VARINT_BYTES)
                yield number, kind, value, place
                continue
            if kind == BYTES:
                length, place = self._varint(place, end, VARINT_BYTES)
            elif kind in FIXED:
                length = FIXED[kind]
            else:
                raise IndexError(f"wire type {kind} at byte {place}")
            if length > end - place:
                raise IndexError(f"a field of {length:,} bytes at byte {place}, but fewer are left")
            yield number, kind, place, place + length
            place += length

    def _add(self, count: int) -> None:
        """Counts fields and packed numbers, so that memory and time stay within what the largest graph needs."""
        self._count += count
        if self._count > FIELDS * self._limits.parts:
            self._limits.check("parts", self._count // FIELDS + 1, self._name)

    def _add_part(self) -> None:
        """Counts nodes and constants."""
        self._parts += 1
        if self._parts > self._limits.parts:
            self._limits.check("parts", self._parts, self._name)

    def _varint(self, place: int, end: int, most: int) -> tuple[int, int]:
        value = shift = 0
        for index in range(place, min(end, place + most)):
            byte = self._data[index]
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (2**64 - 1), index + 1
            shift += 7
        raise IndexError(f"a number without an end at byte {place}")

    def _text(self, start: int, end: int) -> str:
        return bytes(self._data[start:end]).decode("utf-8")

    def _graph(self, start: int, end: int, depth: int) -> Graph:
        self._limits.check("nesting", depth, self._name)
        made = Graph()
        for number, kind, value, stop in self._fields(start, end):
            if kind != BYTES:
                continue
            if number == 1:
                made.nodes.append(self._node(value, stop, depth))
            elif number == 5:
                made.tensors.append(self._tensor(value, stop))
            elif number == 11:
                name, shape = self._value(value, stop)
                made.inputs[name] = shape
            elif number == 15:
                made.sparse += 1
                made.tensors += self._sparse(value, stop)
        return made

    def _function(self, start: int, end: int) -> Function:
        made = Function()
        for number, kind, value, stop in self._fields(start, end):
            if kind != BYTES:
                continue
            if number == 1:
                made.name = self._text(value, stop)
            elif number == 7:
                made.nodes.append(self._node(value, stop, 1))
            elif number == 10:
                made.domain = self._text(value, stop)
            elif number == 11:  # a default attribute
                made.nodes.append(Node())
                self._attribute(made.nodes[-1], value, stop, 1)
        return made

    def _node(self, start: int, end: int, depth: int) -> Node:
        self._add_part()
        made = Node()
        for number, kind, value, stop in self._fields(start, end):
            if kind != BYTES:
                continue
            if number == 1:
                made.inputs.append(self._text(value, stop))
            elif number == 2:
                made.outputs.append(self._text(value, stop))
            elif number == 4:
                made.op_type = self._text(value, stop)
            elif number == 5:
                self._attribute(made, value, stop, depth)
            elif number == 7:
                made.domain = self._text(value, stop)
        return made

    def _attribute(self, node: Node, start: int, end: int, depth: int) -> None:
        """Adds an attribute to its node, whose name may come after its value."""
        name, text, numbers = "", "", list[int]()
        for number, kind, value, stop in self._fields(start, end):
            if number in (3, 8) and kind in (VARINT, BYTES):
                numbers += self._integers(kind, value, stop)
            elif kind == BYTES and number == 1:
                name = self._text(value, stop)
            elif kind == BYTES and number == 4:
                text = bytes(self._data[value : min(stop, value + SMALL)]).decode("utf-8", "replace")
            elif kind == BYTES:
                self._add_content(node, number, value, stop, depth)
        if numbers:
            node.ints[name] = numbers
        if text:
            node.strings[name] = text

    def _add_content(self, node: Node, number: int, start: int, end: int, depth: int) -> None:
        """Adds the tensors and graphs of an attribute to its node."""
        if number in (5, 10):
            node.tensors.append(self._tensor(start, end))
        elif number in (6, 11):
            node.graphs.append(self._graph(start, end, depth + 1))
        elif number in (22, 23):
            node.sparse += 1
            node.tensors += self._sparse(start, end)

    def _sparse(self, start: int, end: int) -> list[Tensor]:
        """The two tensors of a sparse one, and one without data for its own size."""
        own, made = Tensor(name="a sparse tensor", sparse=True), list[Tensor]()
        for number, kind, value, stop in self._fields(start, end):
            if number == 3:
                own.dims += self._integers(kind, value, stop)
            elif number in (1, 2) and kind == BYTES:
                made.append(self._tensor(value, stop))
        return [own, *made]

    def _tensor(self, start: int, end: int) -> Tensor:
        self._add_part()
        made, numbers, raw_start = Tensor(), list[int](), 0
        for number, kind, value, stop in self._fields(start, end):
            if number == 1:
                made.dims += self._integers(kind, value, stop)
            elif number in PAYLOAD:
                made.payload += stop - value + 1 if kind == BYTES else 8
                if number == INT64_DATA and (kind != BYTES or stop - value <= SMALL * VARINT_BYTES):
                    numbers += self._integers(kind, value, stop)
            elif kind == VARINT:
                self._tell(made, number, value)
            elif kind == BYTES:
                raw_start = value if number == RAW_DATA else raw_start
                self._describe(made, number, value, stop)
        made.payload += made.raw or 0
        if made.type == INT64:
            small = made.raw if made.raw is not None and made.raw <= SMALL * 8 else 0
            raw = bytes(self._data[raw_start : raw_start + small])
            made.numbers = numbers or [
                int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8)
            ]
        return made

    def _tell(self, tensor: Tensor, number: int, value: int) -> None:
        if number == 2:
            tensor.type = value
        elif number == 14 and value:  # the data's location: elsewhere
            tensor.external = tensor.external or {}

    def _describe(self, tensor: Tensor, number: int, start: int, end: int) -> None:
        if number == 8:
            tensor.name = self._text(start, end)
        elif number == RAW_DATA:
            tensor.raw = end - start
        elif number == 13:
            key, text = self._entry(start, end)
            tensor.external = {**(tensor.external or {}), key: text}

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        parts = {1: "", 2: ""}
        for number, kind, value, stop in self._fields(start, end):
            if kind == BYTES and number in parts:
                parts[number] = self._text(value, stop)
        return parts[1], parts[2]

    def _value(self, start: int, end: int) -> tuple[str, list[int | None] | None]:
        """Name and shape of a ValueInfoProto: 2 type, 1 tensor_type, 2 shape, 1 dim, 1 dim_value."""
        name, shape = "", None
        for number, kind, value, stop in self._fields(start, end):
            if kind == BYTES and number == 1:
                name = self._text(value, stop)
            elif kind == BYTES and number == 2:
                for inner in self._inside(value, stop, 1):
                    for sizes in self._inside(*inner, 2):
                        shape = [self._size(*dim) for dim in self._inside(*sizes, 1)]
        return name, shape

    def _inside(self, start: int, end: int, wanted: int) -> list[tuple[int, int]]:
        return [
            (value, stop)
            for number, kind, value, stop in self._fields(start, end)
            if number == wanted and kind == BYTES
        ]

    def _size(self, start: int, end: int) -> int | None:
        size = None
        for number, kind, value, _ in self._fields(start, end):
            if number == 1 and kind == VARINT:
                size = _signed(value)
        return size

    def _integers(self, kind: int, start: int, end: int) -> list[int]:
        """The integers of a field: the one that it is, or those packed in its bytes."""
        if kind == VARINT:
            return [_signed(start)]
        numbers = list[int]()
        while start < end:
            number, start = self._varint(start, end, VARINT_BYTES)
            numbers.append(_signed(number))
            self._add(1)
        return numbers


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
