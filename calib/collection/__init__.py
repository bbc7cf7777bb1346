"""Ranges of activations on calibration images, and the calibration table."""
