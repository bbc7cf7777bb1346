"""Measures calibration, the accuracy of int8 graphs, and fine-tuning, beside other quantizers."""
