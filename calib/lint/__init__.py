"""Checks Q/DQ graphs, whoever wrote them, for what keeps a runtime from running them in integers."""
