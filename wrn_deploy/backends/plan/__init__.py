"""TensorRT plans of either flavour: what `tensorrt.py` stands on."""
