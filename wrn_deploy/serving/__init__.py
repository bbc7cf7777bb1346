"""Serving by Triton: configurations of models, what a repository must fulfil, and the server's program."""
