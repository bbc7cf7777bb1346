"""Shows what is left behind when commands are killed."""
