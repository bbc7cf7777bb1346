"""Quantization-aware training of a Q/DQ graph as it is stored."""
