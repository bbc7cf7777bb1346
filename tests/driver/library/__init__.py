"""The C++ library's part for TensorRT, on a TensorRT of our own and the stand-in for the CUDA driver."""
