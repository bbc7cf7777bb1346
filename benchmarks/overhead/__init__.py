"""Measures what the Runner, the C library and the benchmark itself add to an inference."""
