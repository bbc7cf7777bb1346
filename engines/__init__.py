"""TensorRT plans: the installed TensorRT, options, building, and the proof of precision."""
