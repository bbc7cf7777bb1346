"""Measures whole steps of the pipeline: decoding, training steps, the way from weights to plans, networks in turns."""
