"""Rounds weights so that errors cancel, and runs Q/DQ graphs in PyTorch for that."""
