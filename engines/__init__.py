"""TensorRT plans: which TensorRT there is, and building."""
