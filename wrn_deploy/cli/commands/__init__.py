"""The commands, a module for each group of `--help`: each parses, calls one function of the pipeline, and prints.

The function is imported in the command, so that --help, and the other commands, do not wait for it.
"""
