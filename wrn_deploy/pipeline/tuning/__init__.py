"""The steps of `tune`: which Convs stay in fp16, and which build of a plan is the fastest."""
