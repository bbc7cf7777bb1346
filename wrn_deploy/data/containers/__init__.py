"""Readers of the files that hold many images or their labels; each names a damaged file."""
