"""Reads a ModelConfig in protobuf's text format (config.pbtxt) by its schema; the standard library only.

A configuration is a dict, as JSON has it: a message is a dict, a repeated field a list, a map a dict, an enum's value
its name. Fields that are not set are absent. The format: https://protobuf.dev/reference/protobuf/textformat-spec.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.serving.schema import ROOT_MESSAGE, Field, enums, field_of, one_of

__all__ = ["Config", "parse_config"]

Config = dict[str, Any]

TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>-?[A-Za-z_0-9.+]+)|(?P<sign>[-:{}\[\]<>,;])"""
)
ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
BOOLS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}
CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_config(text: str, name: object) -> Config:
    """The configuration in a text; `name` names the file in errors.

    Raises:
        DamagedFile: it is not protobuf's text format; a field is unknown, is set twice, or has a value of another type.
        OverLimit: messages are nested too deep.
    """
    reader = _Reader(list(_tokens(text, name)), name)
    return reader.message(ROOT_MESSAGE, None, depth=0)


def _tokens(text: str, name: object) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise DamagedFile(
                f"{name}, line {line}: cannot read {text[at : at + 20]!r}: expected protobuf's text format"
            )
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found[0], line)
        line += found[0].count("\n")
        at = found.end()


class _Reader:
    """Reads messages from the tokens of a file."""

    def __init__(self, tokens: list[_Token], name: object) -> None:
        self._tokens = tokens
        self._at = 0
        self._name = name

    def message(self, message: str, end: str | None, *, depth: int) -> Config:
        """The fields up to the token `end`; None: up to the end of the file."""
        budget().check("nesting", depth, self._name)
        found: Config = {}
        while not self._taken(end) if end else self._at < len(self._tokens):
            token = self._next("word", "the name of a field")
            field = field_of(message, token.text)
            if field is None:
                raise self._error(token, f"{message} has no field {token.text!r}: check its spelling")
            if field.name in found and not (field.repeated or field.key):
                raise self._error(token, f"{field.name} is set twice: expected it only once")
            colon = self._taken(":")
            if not colon and not field.is_message and field.key is None:
                raise self._error(token, f"{field.name} has no value: expected a colon and a {field.type}")
            self._values(field, found, depth=depth)
            for group in one_of(message):
                given = [each for each in group if each in found]
                if len(given) > 1:
                    raise self._error(token, f"{' and '.join(given)} are both set: expected only one of them")
            _ = self._taken(",") or self._taken(";")
        return found

    def _values(self, field: Field, found: Config, *, depth: int) -> None:
        """Reads one value, or a list of them in brackets."""
        if field.repeated:
            found.setdefault(field.name, [])
        if not ((field.repeated or field.key) and self._taken("[")):
            self._put(field, found, depth=depth)
            return
        while not self._taken("]"):
            self._put(field, found, depth=depth)
            if not self._taken(","):
                if not self._taken("]"):
                    raise self._error(self._peek(), "expected a comma or ] in a list")
                return

    def _put(self, field: Field, found: Config, *, depth: int) -> None:
        if field.key is not None:
            key, value = self._entry(field, depth=depth)
            found.setdefault(field.name, {})[key] = value
        elif field.repeated:
            found[field.name].append(self._value(field, depth=depth))
        else:
            found[field.name] = self._value(field, depth=depth)

    def _entry(self, field: Field, *, depth: int) -> tuple[Any, Any]:
        """An entry of a map: { key: ... value: ... }."""
        end = self._opened()
        parts: Config = {}
        while not self._taken(end):
            token = self._next("word", "key or value")
            if token.text not in ("key", "value") or token.text in parts:
                raise self._error(token, f"{token.text!r} in {field.name}: expected one key and one value")
            kind = field.key if token.text == "key" else field.type
            self._taken(":")
            parts[token.text] = self._value(Field(name=token.text, type=str(kind)), depth=depth)
            _ = self._taken(",") or self._taken(";")
        if "key" not in parts:
            raise self._error(self._peek(), f"an entry of {field.name} has no key")
        return parts["key"], parts.get("value", {} if field.is_message else "")

    def _value(self, field: Field, *, depth: int) -> Any:
        if field.is_message:
            return self.message(field.type, self._opened(), depth=depth + 1)
        if field.type == "string":
            parts = [self._next("text", f"{field.name}: a text in quotes").text]
            while self._peek().kind == "text":
                parts.append(self._next("text", "").text)
            return "".join(map(_unescaped, parts))
        minus = "-" if self._taken("-") else ""
        token = self._next("word", f"{field.name}: a value of type {field.type}")
        value = _scalar(field.type, minus + token.text)
        if value is None:
            raise self._error(token, f"{field.name} is {minus + token.text}: expected {_expected(field.type)}")
        return value

    def _opened(self) -> str:
        token = self._next("sign", "{")
        if token.text not in CLOSING:
            raise self._error(token, f"{token.text!r}: expected {{")
        return CLOSING[token.text]

    def _peek(self) -> _Token:
        last = self._tokens[-1].line if self._tokens else 1
        return self._tokens[self._at] if self._at < len(self._tokens) else _Token("end", "the end of the file", last)

    def _taken(self, sign: str) -> bool:
        found = self._peek()
        if found.kind == "sign" and found.text == sign:
            self._at += 1
            return True
        return False

    def _next(self, kind: str, expected: str) -> _Token:
        found = self._peek()
        if found.kind != kind:
            raise self._error(found, f"{found.text!r}: expected {expected}")
        self._at += 1
        return found

    def _error(self, token: _Token, text: str) -> DamagedFile:
        return DamagedFile(f"{self._name}, line {token.line}: {text}")


def _scalar(kind: str, text: str) -> Any:
    """The value of a number, a bool or an enum; None: it is none of that type."""
    if kind == "bool":
        return BOOLS.get(text)
    if kind in RANGES:
        return _integer(kind, text)
    if kind in ("float", "double"):
        with contextlib.suppress(ValueError):
            return float(text if "inf" in text else text.removesuffix("f"))
        return None
    names = enums()[kind]
    return text if text in names else next((name for name, number in names.items() if str(number) == text), None)


def _integer(kind: str, text: str) -> int | None:
    if not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", text):
        return None
    low, high = RANGES[kind]
    number = int(text, 8 if re.fullmatch(r"-?0[0-7]+", text) else 0)
    return number if low <= number <= high else None


def _expected(kind: str) -> str:
    if kind in enums():
        return f"one of {', '.join(enums()[kind])}"
    if kind in RANGES:
        low, high = RANGES[kind]
        return f"an integer from {low} to {high}"
    return "true or false" if kind == "bool" else "a number"


def _unescaped(quoted: str) -> str:
    """The text in quotes; escapes stand for bytes of UTF-8."""

    def byte(found: re.Match[bytes]) -> bytes:
        octal, hexadecimal, plain = found.groups()
        if plain is not None:
            return ESCAPED.get(plain, plain)
        return bytes([int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)])

    return ESCAPE.sub(byte, quoted[1:-1].encode("utf-8")).decode("utf-8", "replace")
