"""Fuzzing of everything that reads a file from outside: `make fuzz` searches, `test_targets` replays what is known."""
