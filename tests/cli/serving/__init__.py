"""Tests of the commands repository and serve."""
