"""Layer lists are read alike in the formats of TensorRT 10, of TensorRT 11, and of TensorRT-RTX's builder log."""

from __future__ import annotations

import json

import pytest

from wrn_deploy.engines.layers import Arithmetic, EngineTensor, arithmetic_of, parse_json, parse_log
from wrn_deploy.errors import DeployError

# In the form that NVIDIA's documentation of TensorRT 10 shows ("Engine Inspector"): type and layout in one text.
TENSORRT_10 = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to conv1 + relu1",
            "LayerType": "Reformat",
            "Inputs": [
                {
                    "Name": "images",
                    "Location": "Device",
                    "Dimensions": [1, 3, 32, 32],
                    "Format/Datatype": "Row major linear FP32",
                }
            ],
            "Outputs": [
                {
                    "Name": "Reformatted Input Tensor 0 to conv1 + relu1",
                    "Location": "Device",
                    "Dimensions": [1, 3, 32, 32],
                    "Format/Datatype": "Channel major FP16 format where channel % 4 == 0",
                }
            ],
            "ParameterType": "Reformat",
            "Origin": "REFORMAT",
            "TacticValue": "0x00000000000003ea",
            "StreamId": 0,
            "Metadata": "",
        },
        {
            "Name": "conv1 + relu1",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {
                    "Name": "images.q",
                    "Location": "Device",
                    "Dimensions": [1, 32, 32, 32],
                    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format",
                }
            ],
            "Outputs": [
                {
                    "Name": "relu1",
                    "Location": "Device",
                    "Dimensions": [1, 16, 32, 32],
                    "Format/Datatype": "Channel major FP16 format where channel % 8 == 0",
                }
            ],
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Weights": {"Type": "Int8", "Count": 4608},
            "Bias": {"Type": "Float", "Count": 16},
            "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]",
        },
    ],
    "Bindings": ["images", "logits"],
}

# As NVIDIA's guide to migrating to TensorRT 11 describes it: Format and DataType are two, and there are I/O Tensors.
# The kinds of layers and the names are those that TensorRT-RTX prints.
TENSORRT_11 = {
    "Layers": [
        {
            "Name": "conv1_myl0_1",
            "LayerType": "correlation",
            "Inputs": [
                {
                    "Name": "conv1.1_2",
                    "Dimensions": [1, 32, 32, 32],
                    "DataType": "Int8",
                    "Format": "Channel major format",
                }
            ],
            "Constants": [
                {"Name": "dconst", "Dimensions": [16, 32, 3, 3], "DataType": "Int8", "Format": "Channel major format"},
                {"Name": "scale", "Dimensions": [1, 16, 1, 1], "DataType": "Float", "Format": "Channel major format"},
            ],
            "Outputs": [
                {"Name": "arg", "Dimensions": [1, 16, 32, 32], "DataType": "Float", "Format": "Channel major format"}
            ],
            "TacticName": "",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: conv1]\x1e[ONNX Layer: conv1.weight.dq]",
        }
    ],
    "I/O Tensors": [{"Name": "images", "IOMode": "Input", "DataType": "Float", "Dimensions": [1, 3, 32, 32]}],
}

# As TensorRT-RTX 1.7.1 printed it, with fewer constants.
LOG = (
    "Layers:\n"
    "Name: __myl_CastConc_myl0_0, LayerType: kgen, Inputs: [ { Name: images, Dimensions: [8,3,32,32], Strides: "
    "[3072,1024,32,1], StrideOrder: [3,2,1,0], Datatype: Float, Format: (Linear) Row major linear format }], "
    "Constants: [], Outputs: [ { Name: conv1.1_2, Dimensions: [8,4,32,32], Strides: [4096,1,128,4], StrideOrder: "
    "[3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], TacticName: __myl_CastConc_0xac, StreamId: 0, "
    "Metadata: [ONNX Layer: images.fp16][ONNX Layer: conv1]\n"
    "Name: conv1_U210_myl0_1, LayerType: correlation, Inputs: [ { Name: q, Dimensions: [8,4,32,32], Strides: "
    "[4096,1,128,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], Constants: [ { "
    "Name: w, Dimensions: [16,4,3,3], Strides: [36,1,12,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) "
    "Channel major format }, { Name: s, Dimensions: [1,16,1,1], Strides: [16,1,16,16], StrideOrder: [3,0,2,1], "
    "Datatype: Float, Format: (NHWC) Channel major format }], Outputs: [ { Name: arg, Dimensions: [8,16,32,32], "
    "Strides: [16384,1,512,16], StrideOrder: [3,0,2,1], Datatype: Float, Format: (NHWC) Channel major format }], "
    "TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: conv1][ONNX Layer: images.fp16.dq]\n"
    "Name: __mye13045_myl0_27, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, "
    "EventId: 1, Metadata: \n"
    "\n\nI/O Tensors:\n Name: images, IOMode: Input, DataType: Float, Dimensions: [8,3,32,32], Location: Device\n"
)


def test_tensorrt_10_has_type_and_layout_in_one_text() -> None:
    reformat, conv = parse_json(json.dumps(TENSORRT_10))
    assert (reformat.only_converts, conv.only_converts) == (True, False)
    assert (conv.name, conv.kind) == ("conv1 + relu1", "CaskConvolution")
    assert conv.inputs == (EngineTensor("images.q", Arithmetic.INT8, 32 * 32 * 32),)
    assert conv.weights == (EngineTensor("", Arithmetic.INT8, 4608),)
    assert conv.outputs[0].type is Arithmetic.FP16
    assert conv.onnx == ("conv1", "relu1")
    assert conv.tactic.startswith("sm80_xmma")


def test_tensorrt_11_has_type_and_layout_apart() -> None:
    (conv,) = parse_json(json.dumps(TENSORRT_11))
    assert (conv.inputs[0].type, conv.outputs[0].type) == (Arithmetic.INT8, Arithmetic.FP32)
    assert [(tensor.type, tensor.elements) for tensor in conv.weights] == [
        (Arithmetic.INT8, 4608),
        (Arithmetic.FP32, 16),
    ]
    assert conv.onnx == ("conv1", "conv1.weight.dq")


def test_the_log_of_tensorrt_rtx() -> None:
    convert, conv, signal = parse_log(LOG)
    assert (convert.only_converts, convert.steps, convert.works) == (True, ("Cast", "Conc"), True)
    assert (conv.name, conv.kind, conv.tactic) == ("conv1_U210_myl0_1", "correlation", "__myelin_CASK_STUB")
    assert conv.inputs == (EngineTensor("q", Arithmetic.INT8, 8 * 4 * 32 * 32),)
    assert [(tensor.name, tensor.type) for tensor in conv.weights] == [("w", Arithmetic.INT8), ("s", Arithmetic.FP32)]
    assert [tensor.type for tensor in conv.outputs] == [Arithmetic.FP32]
    assert conv.onnx == ("conv1", "images.fp16.dq")
    assert (signal.works, signal.onnx, signal.inputs) == (False, (), ())


def test_a_message_without_layers_has_none() -> None:
    assert parse_log("Engine generation completed in 0.6 seconds.") == []
    assert parse_log("Layers:\nnonsense\nName: broken") == parse_log("Layers:\nName: broken")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Row major linear FP32", "fp32"),
        ("Float", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Half", "fp16"),
        ("Row major linear BF16 format", "bf16"),
        ("BFloat16", "bf16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Row major linear FP8 format", "fp8"),
        ("Int32", "unknown"),
        ("N/A due to dynamic shapes", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_types_that_texts_name(text: str, wanted: str) -> None:
    assert arithmetic_of(text) == wanted


def test_names_alone_are_layers_of_which_nothing_more_is_known() -> None:
    """The description of an engine that was built with less verbosity."""
    (layer,) = parse_json('{"Layers": ["conv1 + relu1"], "Bindings": ["images"]}')
    assert (layer.name, layer.kind, layer.inputs, layer.onnx) == ("conv1 + relu1", "", (), ())


def test_dynamic_dimensions_have_no_number_of_elements() -> None:
    record = {"Layers": [{"Name": "x", "Inputs": [{"Name": "i", "Dimensions": [-1, 3], "DataType": "Half"}]}]}
    assert parse_json(json.dumps(record))[0].inputs == (EngineTensor("i", Arithmetic.FP16, 0),)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"Layers": 3}', "null", "[" * 100_000])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DeployError, match="the engine's description"):
        parse_json(text)


@pytest.mark.parametrize("entry", [{}, {"Inputs": 3, "Outputs": [4], "Weights": {"Count": "many"}}, {"Metadata": None}])
def test_odd_entries_do_no_harm(entry: object) -> None:
    (layer,) = parse_json(json.dumps({"Layers": [entry]}))
    assert layer.inputs == ()
