"""Writes what is generated: the README's tables and pictures, docs/models.md, the table of the listed networks."""
