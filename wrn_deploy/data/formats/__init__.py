"""One file a data format, found by its name."""
