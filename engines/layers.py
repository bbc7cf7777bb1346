"""The layers of an engine as data, from the inspector's JSON or from the builder's log; no TensorRT import."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wrn_deploy.errors import DeployError

__all__ = ["LAYERS_IN_LOG", "Arithmetic", "EngineLayer", "EngineTensor", "arithmetic_of", "parse_json", "parse_log"]

LAYERS_IN_LOG = "Layers:\n"  # marks the builder's message with the list of layers


class Arithmetic(StrEnum):
    """The arithmetic of multiplications, the cheapest first; unknown: the layer was not found or cannot be read."""

    INT8 = "int8"
    FP8 = "fp8"
    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"
    UNKNOWN = "unknown"


# Words of TensorRT 10 ("Channel major FP16 format where channel % 8 == 0"), and of 11 and RTX ("Half").
WORDS = {
    **dict.fromkeys(("int8",), Arithmetic.INT8),
    **dict.fromkeys(("fp8", "float8", "fp8e4m3", "e4m3"), Arithmetic.FP8),
    **dict.fromkeys(("bf16", "bfloat16"), Arithmetic.BF16),
    **dict.fromkeys(("fp16", "half", "float16"), Arithmetic.FP16),
    **dict.fromkeys(("fp32", "float", "float32", "tf32"), Arithmetic.FP32),
}


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """A tensor that a layer reads or writes; `elements` is 0 if dimensions are dynamic or missing."""

    name: str
    type: Arithmetic
    elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayer:
    """One layer of an engine.

    `onnx` has the names of the ONNX nodes that were fused into it, and `weights` the constant tensors: TensorRT's own
    kernels give only their type and number, compiled ones list them beside scales and biases.
    """

    name: str
    kind: str
    inputs: tuple[EngineTensor, ...]
    weights: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    tactic: str
    onnx: tuple[str, ...]

    @property
    def works(self) -> bool:
        """Whether it processes data: signals and waits between streams, constants, and shapes do not."""
        return self.kind.lower() not in ("signal", "wait", "constant", "shape_call")

    @property
    def only_converts(self) -> bool:
        """Whether it only changes a tensor's type or layout: a reformat, or a compiled kernel of such steps."""
        if self.kind.lower() in ("reformat", "copy", "cast") or "Reformatting CopyNode" in self.name:
            return True
        return self.kind == "kgen" and bool(self.steps) and set(self.steps) <= CONVERSIONS

    @property
    def steps(self) -> tuple[str, ...]:
        """The operations that the name of a compiled kernel lists, as in __myl_CastMulAdd_myl0_2."""
        match = re.match(r"__myl_([A-Za-z0-9]+?)_", self.name)
        return tuple(re.findall(r"[A-Z][a-z0-9]*", match[1])) if match else ()


CONVERSIONS = frozenset({"Cast", "Conc", "Copy", "Move", "Pad", "Resh", "Tran"})  # the compiler's names of four letters
ONNX_LAYER = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f\[]|\s*$)")


def arithmetic_of(text: str) -> Arithmetic:
    """The type that a tensor's description names."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return next((WORDS[word] for word in words if word in WORDS), Arithmetic.UNKNOWN)


def parse_json(text: str) -> list[EngineLayer]:
    """Reads the JSON of `EngineInspector.get_engine_information`.

    TensorRT 10 has type and layout of a tensor in one text, `Format/Datatype`; TensorRT 11 and RTX have two. An engine
    that was built with less verbosity has only the names of its layers.

    Raises:
        DeployError: the text is not such JSON.
    """
    try:
        record = json.loads(text)
        found = record["Layers"] if isinstance(record, dict) else None
    except (ValueError, KeyError, RecursionError) as error:
        raise DeployError(f"the engine's description cannot be read ({error}): expected JSON with Layers") from error
    if not isinstance(found, list):
        raise DeployError("the engine's description has no list of Layers: build the plan again with this version")
    return [_layer(entry) for entry in found if isinstance(entry, dict | str)]


def parse_log(message: str) -> list[EngineLayer]:
    """Reads the list of layers in a message of the builder's log, one line per layer, after `LAYERS_IN_LOG`."""
    lines = message.partition(LAYERS_IN_LOG)[2].partition("\n\n")[0].splitlines()
    return [_logged(line) for line in lines if line.startswith("Name: ")]


def _layer(entry: dict[str, Any] | str) -> EngineLayer:
    entry = {"Name": entry} if isinstance(entry, str) else entry
    texts = {key: str(entry.get(key, "")) for key in ("Name", "LayerType", "TacticName", "Metadata")}
    weights = [{**entry["Weights"], "Name": "Weights"}] if isinstance(entry.get("Weights"), dict) else []
    return EngineLayer(
        name=texts["Name"],
        kind=texts["LayerType"],
        inputs=_tensors(entry.get("Inputs")),
        weights=_tensors([*weights, *_list(entry.get("Constants"))]),
        outputs=_tensors(entry.get("Outputs")),
        tactic=texts["TacticName"],
        onnx=tuple(ONNX_LAYER.findall(texts["Metadata"])),
    )


def _tensors(entries: Any) -> tuple[EngineTensor, ...]:
    return tuple(_tensor(entry) for entry in _list(entries) if isinstance(entry, dict))


def _tensor(entry: dict[str, Any]) -> EngineTensor:
    lower = {str(key).lower(): value for key, value in entry.items()}
    type_ = next((lower[key] for key in ("datatype", "format/datatype", "type", "format") if lower.get(key)), "")
    if "count" in lower:
        return EngineTensor("", arithmetic_of(str(type_)), lower["count"] if isinstance(lower["count"], int) else 0)
    return EngineTensor(str(lower.get("name", "")), arithmetic_of(str(type_)), _elements(lower.get("dimensions")))


def _elements(dimensions: Any) -> int:
    sizes = [size for size in _list(dimensions) if isinstance(size, int) and size > 0]
    return math.prod(sizes) if sizes and len(sizes) == len(_list(dimensions)) else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# A tensor of the log: { Name: x, Dimensions: [8,3], Strides: [..], .., Datatype: Half, Format: (NHWC) .. }
TENSOR = re.compile(r"\{ Name: (.*?), Dimensions: \[([-\d,\s]*)\](.*?)\}")
TYPE = re.compile(r"(?:Format/)?Data[tT]ype: ([^,}]*)")


def _logged(line: str) -> EngineLayer:
    head, _, rest = line.partition(", Inputs: [")
    name, _, kind = head.removeprefix("Name: ").partition(", LayerType: ")
    inputs, _, rest = rest.partition("Outputs: [")
    data, _, fixed = inputs.partition("Constants: [")
    outputs, _, rest = rest.partition("TacticName: ")
    tactic, _, rest = rest.partition(", ")
    onnx = tuple(ONNX_LAYER.findall(rest.partition("Metadata: ")[2]))
    reads, weights, writes = map(_logged_tensors, (data, fixed, outputs))
    return EngineLayer(name=name, kind=kind, inputs=reads, weights=weights, outputs=writes, tactic=tactic, onnx=onnx)


def _logged_tensors(text: str) -> tuple[EngineTensor, ...]:
    tensors = []
    for name, dimensions, more in TENSOR.findall(text):
        type_ = TYPE.search(more)
        sizes = [int(size) for size in dimensions.split(",") if size.strip().lstrip("-").isdigit()]
        tensors.append(EngineTensor(name, arithmetic_of(type_[1] if type_ else ""), _elements(sizes)))
    return tuple(tensors)
