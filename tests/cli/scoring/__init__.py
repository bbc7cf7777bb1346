"""Tests of the command score: what it prints, exit codes, kills, scripts."""
