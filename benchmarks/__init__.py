"""Programs that measure this project: run them from the checkout's root as `python -m benchmarks.FOLDER.PROGRAM`."""
