"""On the path of the tests' processes, so that `import tensorrt` finds what is here."""
