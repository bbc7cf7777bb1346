"""The steps, in folders named by the groups of the command line: the one place that knows the whole flow."""
