"""Measuring: latency, accuracy and memory of every candidate, and the reports made from them."""
