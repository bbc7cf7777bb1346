"""One file a family of networks, found by its name."""
