"""Chooses images and their order, and identifies sets of images."""
