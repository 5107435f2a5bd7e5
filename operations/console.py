"""What commands print, all through one console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

console = Console()


def write(text: str = "") -> None:
    """Print a line as it is, however long: nothing in it is markup, nothing is coloured."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def plain_table(*headings: str, title: str | None = None) -> Table:
    """An empty table without lines, whose columns are as wide as what they hold."""
    return Table(*headings, title=title, title_justify="left", box=None, pad_edge=False)
