"""The step of `train`."""
