"""Cross-layer equalisation: channels of like ranges, the same function."""
