"""A TensorRT on the stand-in driver: it keeps the documented rules of engines and contexts, and sums slices."""
