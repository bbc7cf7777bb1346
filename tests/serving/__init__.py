"""Tests of serving by Triton, and the real server they run."""
