"""Renders reports, training runs and networks: text, tables, pages and pictures; measures nothing."""
