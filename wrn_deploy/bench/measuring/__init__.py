"""Measures candidates: time, accuracy and the state of the machine."""
