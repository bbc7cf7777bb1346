"""What a process owns and takes along when it ends, however it ends: children and temporary files."""
