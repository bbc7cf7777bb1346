"""PyTorch to ONNX, fp32 to fp16, and the checks on both."""
