"""Files from outside and files of ours: opened safely, read within limits, written whole."""
