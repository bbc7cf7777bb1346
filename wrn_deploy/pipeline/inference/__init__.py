"""The steps of `predict` and of the functions that answer images."""
