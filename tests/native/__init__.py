"""Tests of what is the C++ library's own: its ABI, its sanitizers, other machines, the service."""
