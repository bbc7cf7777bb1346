"""What `--dry-run` prints: the steps of a command, what is up to date, sizes and times; nothing is written."""
