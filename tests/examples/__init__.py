"""Each example, run as its reader would."""
