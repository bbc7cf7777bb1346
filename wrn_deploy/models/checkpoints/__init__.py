"""Weights: where they come from, how files and layouts are read, and which preprocessing they bring."""
