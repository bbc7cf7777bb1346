"""The step of `build-engine`: plans and the proof of their precision."""
