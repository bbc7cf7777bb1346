"""Writes the README's tables and pictures, and docs/models.md, from the committed results."""
