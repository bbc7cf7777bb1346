"""Which images are taken, in which order, and how a set of images is recognised again."""
