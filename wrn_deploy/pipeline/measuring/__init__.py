"""The steps of `bench`, `eval` and `compare`."""
