"""Tests of running jobs on clusters, with jobs that do nothing."""
