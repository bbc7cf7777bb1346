"""Judges ONNX files before a library reads them; the standard library only."""
