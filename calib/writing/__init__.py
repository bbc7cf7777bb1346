"""Writes Q/DQ graphs for TensorRT, ONNX Runtime and fp8 from a table."""
