"""A Griffe extension: reads the docstrings' `Example:` as the section of examples that Griffe knows."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["ExampleSections"]


class ExampleSections(griffe.Extension):  # type: ignore[misc] # its types are known only where the site is built
    """Renames the section in every docstring before it is parsed: Griffe knows `Examples:` alone."""

    def on_object(self, *, obj: Any, **_given: Any) -> None:
        """Renames it in one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
