"""Calibration and the Q/DQ graphs written from it."""
