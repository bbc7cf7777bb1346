"""The steps of `models` and `export`: networks and their weights into a bundle."""
