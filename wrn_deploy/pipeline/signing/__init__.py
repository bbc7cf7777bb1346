"""Signing bundles, and checking all that a bundle says of itself."""
