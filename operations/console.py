"""What commands print, all through one console: no text of a tenant moves the cursor."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from database.console import json_text, visible


class _Console(Console):
    """Shows each string as it is, in tables too: nothing in it is markup or moves the cursor."""

    def render_str(self, text: str, **options: Any) -> Text:
        """What rich makes of every string that is printed, cells and titles included."""
        return super().render_str(visible(text), **options | {"markup": False, "emoji": False})


console = _Console()


def write(text: str = "") -> None:
    """Print a line, however long, with nothing coloured."""
    console.print(text, soft_wrap=True, highlight=False)


def write_lines(text: str) -> None:
    """Print text of several lines that no tenant wrote, such as SQL."""
    for line in text.split("\n"):
        write(line)


def write_json(document: Any) -> None:
    """Print a document, in which every character is itself or the escape that JSON has for it."""
    write_lines(json_text(document))


def plain_table(*headings: str, title: str | None = None) -> Table:
    """An empty table without lines, whose columns are as wide as what they hold."""
    return Table(*headings, title=title, title_justify="left", box=None, pad_edge=False)
