"""What the engine's plan holds: its tensors, profiles and options, as JSON behind each flavour's magic."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass

__all__ = ["DTYPES", "Plan", "Tensor"]

# TensorRT's names of data types -> bytes of an element, and the number that the stand-in's kernel knows the type by.
DTYPES = {"FLOAT": (4, 0), "UINT8": (1, 1), "INT32": (4, 2), "INT64": (8, 3)}
RTX_MAGIC = b"vtrt"
HEADER = struct.Struct("<4s12xQ")  # then the plan's length
ACTIVATION_BYTES = 4096  # of an image


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output; the shape is that of one image."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network of one input; `profiles` are (minimum, optimum, maximum) batches.

    `user_allocation` is TensorRT-RTX's builder flag REQUIRE_USER_ALLOCATION, without which nothing can be captured.
    """

    source: Tensor
    outputs: tuple[Tensor, ...]
    profiles: tuple[tuple[int, int, int], ...]
    user_allocation: bool = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The input, then the outputs."""
        return (self.source, *self.outputs)

    def activation_bytes(self, profile: int) -> int:
        """Device memory that an execution context needs for a profile."""
        return ACTIVATION_BYTES * self.profiles[profile][2]

    def pack(self, *, rtx: bool) -> bytes:
        """The bytes of the plan."""
        text = json.dumps(asdict(self)).encode()
        return HEADER.pack(RTX_MAGIC, HEADER.size + len(text)) + text if rtx else text

    @classmethod
    def unpack(cls, data: bytes, *, rtx: bool) -> Plan | None:
        """The plan, or None if the bytes are not one of this flavour."""
        try:
            record = json.loads(bytes(data)[HEADER.size if rtx else 0 :])
            tensors = [Tensor(each["name"], each["dtype"], tuple(each["shape"])) for each in record["outputs"]]
            source = record["source"]
            return cls(
                source=Tensor(source["name"], source["dtype"], tuple(source["shape"])),
                outputs=tuple(tensors),
                profiles=tuple((low, best, high) for low, best, high in record["profiles"]),
                user_allocation=record["user_allocation"],
            )
        except (ValueError, KeyError, TypeError):
            return None
