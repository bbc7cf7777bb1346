"""The step of `tune`: which Convs stay in fp16."""
