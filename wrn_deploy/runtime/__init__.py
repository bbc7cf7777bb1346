"""Opens a bundle and runs it: all that a service imports; numpy alone."""
