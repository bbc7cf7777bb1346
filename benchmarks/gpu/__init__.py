"""Measures inference and training on a GPU beside the roofline of an H200."""
