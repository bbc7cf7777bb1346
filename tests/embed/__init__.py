"""Tests of the C library: built once, linked by programs in C and C++."""
