"""What to run on a day with a GPU: one report of tests, experiments and benchmarks beside the roofline; training."""
