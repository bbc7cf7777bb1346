"""The console that commands print tables, lines and progress on: it shows, and never obeys, what comes from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from wrn_deploy.formatting import printable

__all__ = ["TerminalConsole"]


class TerminalConsole(Console):
    """Rich's console for stdout or stderr, which makes texts printable, and knows no markup and no codes of emoji."""

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text, printable: each string that is printed, or a table's cell, comes here before it is laid out."""
        return super().render_str(self._shown(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The parts to write, printable but for rich's own control codes: whatever is printed comes here."""
        if isinstance(renderable, Text) and self._shown(renderable.plain) != renderable.plain:
            renderable = renderable.blank_copy(self._shown(renderable.plain))  # its styles' places no longer fit
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=self._shown(segment.text))

    def _shown(self, text: str) -> str:
        """The text, printable, and as its stream's encoding will show it, so that tables know its width."""
        shown = printable(text)
        return shown if shown.isascii() else shown.encode(self.encoding, "backslashreplace").decode(self.encoding)
