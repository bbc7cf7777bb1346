"""The version of this project, which pyproject.toml reads from here; it imports nothing."""

__all__ = ["__version__"]

__version__ = "0.2.0"
