"""Strict readers of the containers that data comes in: archives, pickled arrays, label files."""
