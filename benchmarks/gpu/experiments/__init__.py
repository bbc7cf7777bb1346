"""The parts of the GPU report: each file has functions that take a `Task` and record what they find."""
