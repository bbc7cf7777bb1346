"""One file a runtime, found by its name."""
