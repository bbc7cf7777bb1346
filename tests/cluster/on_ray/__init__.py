"""Tests with a real Ray, on this machine alone."""
