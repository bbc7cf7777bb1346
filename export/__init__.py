"""PyTorch to ONNX, fp32 to fp16 and bf16, the interface around them, and the checks on all of it."""
