"""Checks Q/DQ graphs, of any tool, for what keeps a runtime from running them in integers."""
