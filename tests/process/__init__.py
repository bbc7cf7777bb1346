"""Tests of what a process owns and takes along when it ends."""
