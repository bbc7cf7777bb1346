"""Tests of the steps that serve: repositories, checks, and a real server under load."""
