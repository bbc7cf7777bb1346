"""The functions of `import wrn_deploy`, one for each step; each imports what it needs when it is called."""
