"""Runs the shards of a job: here, one after the other, or by the workers of a cluster; the standard library only."""
