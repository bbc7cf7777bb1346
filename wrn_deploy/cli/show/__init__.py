"""Prints what the commands found, as tables or as JSON, on stdout: one file a kind of result."""
