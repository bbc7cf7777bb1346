"""The ordered steps, one file each: the one place that knows the whole flow; nothing heavy is imported with it."""
