"""Runs the rules on a Q/DQ graph, and answers what they ask about it: nodes by type, float types, depths, costs."""

from __future__ import annotations

from functools import cached_property

import onnx_ir as ir

from wrn_deploy.calib.lint.finding import Finding, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import is_int8, quantized_data, quantized_weights
from wrn_deploy.calib.placement import conv_depths, skip_index
from wrn_deploy.calib.writing.for_tensorrt import FLOAT_CONVS
from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.text import parse_json
from wrn_deploy.graph import (
    DEQUANTIZE,
    QUANTIZE,
    codes_type,
    input_of,
    is_fixed,
    is_sum,
    macs_of,
    name_of,
    type_of,
    value_name,
)
from wrn_deploy.plugins import load_plugin, plugin_names

__all__ = ["GraphFacts", "guess_target", "lint_graph", "load_rules"]

RULES = "wrn_deploy.calib.lint.rules"


def load_rules() -> list[Rule]:
    """Returns all rules, by id."""
    return sorted((rule for name in plugin_names(RULES) for rule in load_plugin(RULES, name).RULES), key=lambda r: r.id)


def lint_graph(model: ir.Model, target: Target) -> list[Finding]:
    """Finds every place where `model` breaks a rule for `target`; errors first, then by rule and graph order."""
    facts = GraphFacts(model)
    rules = [rule for rule in load_rules() if target in rule.targets]
    findings = [Finding(rule, place) for rule in rules for place in rule.check(facts)]
    return sorted(findings, key=lambda finding: [*Severity].index(finding.rule.severity))


def guess_target(model: ir.Model) -> Target:
    """Returns ONNX Runtime if a tensor is quantized to uint8, as its CPU kernels need; else TensorRT."""
    unsigned = any(codes_type(node) is ir.DataType.UINT8 for node in GraphFacts(model).activation_quantizers)
    return Target.ONNXRUNTIME if unsigned else Target.TENSORRT


class GraphFacts:
    """The structure of a graph and its subgraphs; do not change the graph while this is in use."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes = list(model.graph.all_nodes())
        self.opset = model.opset_imports.get("") or model.graph.opset_imports.get("") or 0
        self._kept_float = _kept_float(model)
        self.quantizers = self.of(QUANTIZE)
        self.dequantizers = self.of(DEQUANTIZE)
        self.qdq = [*self.quantizers, *self.dequantizers]
        self.activation_quantizers = [node for node in self.quantizers if not is_fixed(input_of(node, 0))]
        self.sums = [node for node in self.nodes if is_sum(node)]  # the residual sums
        self.convs = self.of("Conv")
        self.int8_convs = [conv for conv in self.convs if is_int8(conv)]  # data and weights are both quantized
        floats = [conv for conv in self.convs if not quantized_data(conv) and not quantized_weights(conv)]
        self.float_convs = floats if self.quantizers else []  # of a quantized graph

    def of(self, *op_types: str) -> list[ir.Node]:
        """The nodes of these types, in graph order."""
        return [node for node in self.nodes if node.op_type in op_types]

    @property
    def has_fp8(self) -> bool:
        """Whether codes are float8e4m3fn, which no rule covers."""
        return any(codes_type(node) is ir.DataType.FLOAT8E4M3FN for node in self.qdq)

    @cached_property
    def depths(self) -> dict[ir.Value | None, int]:
        """The largest number of Convs on a path from the input to each tensor."""
        return conv_depths(self.nodes)

    def skip_of(self, add: ir.Node) -> ir.Value | None:
        """The skip input of a sum, with fewer Convs before it: the identity, or the Conv of a downsampling skip."""
        return add.inputs[skip_index(add, self.depths)]

    @cached_property
    def types(self) -> dict[ir.Value | None, ir.DataType | None]:
        """The type of each tensor, inferred if the file does not give it."""
        types: dict[ir.Value | None, ir.DataType | None] = {}
        for node in self.nodes:
            before = [types.get(value, value.dtype) for value in node.inputs if value is not None]
            for value in node.outputs:
                types[value] = value.dtype or _inferred_type(node, before)
        return types

    def type_of(self, value: ir.Value | None) -> ir.DataType | None:
        """The type of a tensor, initializers included; None if it is unknown."""
        return self.types.get(value) or (value.dtype if value is not None else None)

    @cached_property
    def float_type(self) -> ir.DataType | None:
        """The float type of the graph: that of most Convs' outputs; None without Convs."""
        found = [self.types[conv.outputs[0]] for conv in self.convs]
        return max(found, key=found.count) if found else None

    @cached_property
    def macs(self) -> dict[str, int]:
        """Multiply-accumulates of each Conv for one image, by the name of its output; empty if one is unknown."""
        found = {value_name(conv.outputs[0]): macs_of(conv) for conv in self.convs}
        known = {name: macs for name, macs in found.items() if macs}
        return known if len(known) == len(found) else {}

    def macs_fraction(self, convs: list[ir.Node]) -> float | None:
        """The fraction of all Convs' multiply-accumulates that `convs` do; None if a shape is unknown."""
        total = sum(self.macs.values())
        return sum(self.macs[value_name(conv.outputs[0])] for conv in convs) / total if total else None

    def is_kept_float(self, conv: ir.Node) -> bool:
        """Whether the graph's metadata names the Conv as float on purpose."""
        return name_of(conv) in self._kept_float


def _kept_float(model: ir.Model) -> frozenset[str]:
    try:
        names = parse_json(model.metadata_props.get(FLOAT_CONVS, "[]"), FLOAT_CONVS)
    except DamagedFile:
        names = []  # another tool uses the same key
    return frozenset(map(str, names)) if isinstance(names, list) else frozenset()


def _inferred_type(node: ir.Node, before: list[ir.DataType | None]) -> ir.DataType | None:
    if node.op_type == QUANTIZE:
        return codes_type(node)
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 0))
    if not before:
        return type_of(node.outputs[0])
    known = before[1:] if node.op_type == DEQUANTIZE else before  # the output of a DQ has the type of its scale
    return known[0] if known else None
