"""Graphs that were exported elsewhere, translated into ones like our own: NCHW, dynamic batch, folded, named."""
