"""Batches in host memory on their way through a backend: arrays of the caller, and one call of a runner."""
