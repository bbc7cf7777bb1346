"""Measuring: latency, accuracy and memory of every contender, and the reports made from them."""
