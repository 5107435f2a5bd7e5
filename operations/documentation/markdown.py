"""Markdown for GitHub: tables, whatever the text of their cells, and links to headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `make docs` from the catalog of a migrated database; do not edit. -->"
"""The first line of every page: such files may be overwritten, and removed when obsolete."""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page; empty parts are left out."""
    return "\n\n".join([GENERATED, f"# {title}", *(part for part in parts if part)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without columns that are empty in every row; empty where there are no rows."""
    listed = [list(row) for row in rows]
    if not listed:
        return ""
    used = [place for place in range(len(head)) if any(row[place] for row in listed)]
    lines = [[head[place] for place in used], ["---"] * len(used)]
    lines += [[cell(row[place]) for place in used] for row in listed]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Text in a table: one line, with bars escaped."""
    return re.sub(r"\s+", " ", text).strip().replace("|", r"\|")


def code(text: str) -> str:
    """Text between as many backquotes as necessary."""
    if not text:
        return ""
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    space = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def prose(text: str | None) -> str:
    """A comment of the database, with characters escaped that GitHub would take for formatting."""
    escaped = re.sub(r"(?<!\w)([*_<])|([*_<])(?!\w)", lambda m: "\\" + m[0], text or "")
    return escaped.replace("[", r"\[")


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link(text: str, page: str, heading: str) -> str:
    """A link to a heading of a page, or of this page if ``page`` is empty."""
    return f"[{text}]({page}#{anchor(heading)})"
