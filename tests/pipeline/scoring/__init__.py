"""Tests of the steps of `score`: parts, resuming, damage, merging, storages."""
