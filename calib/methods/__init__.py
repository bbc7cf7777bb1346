"""One file a calibration method, found by its name."""
