"""Python source of revisions: calls, and their layout on the page.

Alembic indents and wraps nothing; a general formatter puts every argument on a line of its own
as soon as one line does not hold the call, which made revisions twice as long. Here the lines
are filled up to :data:`WIDTH`.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alembic.operations.ops import MigrateOperation

WIDTH = 120
"""Characters of a line."""

NOTES = "notes"
"""In ``MigrateOperation.info``: lines of comment that stand before the call."""


def notes(operation: MigrateOperation) -> list[str]:
    """Those lines; a name with a line break does not end them."""
    lines: list[str] = operation.info.get(NOTES, [])
    return [" ".join(line.split()) for line in lines]


def call(name: str, positional: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    """``op.name(...)`` on one line."""
    arguments = [_literal(value) for value in positional]
    arguments += [f"{key}={_literal(value)}" for key, value in keywords.items()]
    return f"op.{name}({', '.join(arguments)})"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return string(value)
    if isinstance(value, Mapping):
        items = [f"{_literal(k)}: {_literal(v)}" for k, v in value.items()]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return repr(value)


def string(value: str) -> str:
    """A double-quoted literal, unless the text has double quotes only."""
    if '"' in value and "'" not in value:
        return repr(value)
    body = repr('"' + value)[2:-1]
    return '"' + body.replace("\\'", "'").replace('"', '\\"') + '"'


def arranged(text: str) -> str:
    """The body of a function as Alembic renders it, laid out; without Alembic's marks.

    A blank line stands before a new table: what follows belongs to it.
    """
    text = textwrap.dedent("    " + text.lstrip())
    lines = text.splitlines()
    found: list[str] = []
    done = 0
    for statement in ast.parse(text).body:
        if found and lines[statement.lineno - 1].startswith("op.create_table("):
            found.append("")
        found += _comments(lines[done : statement.lineno - 1])
        done = statement.end_lineno or statement.lineno
        if isinstance(statement, ast.Expr):
            found += _layout(statement.value, "", "", WIDTH - 4)
        else:
            found += lines[statement.lineno - 1 : done]
    return "\n".join([*found, *_comments(lines[done:])])


def indented(text: str) -> str:
    """``arranged``, indented but for the first line, which the template indents."""
    lines = arranged(text).splitlines()
    return "\n".join([lines[0], *(f"    {line}" if line else "" for line in lines[1:])])


def _comments(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.lstrip().startswith("#") and "# ###" not in line]


def _layout(node: ast.expr, head: str, tail: str, width: int) -> list[str]:
    """Lines of an expression; ``head`` comes before its first line, ``tail`` after its last."""
    line = _line(node)
    if line is not None and len(head) + len(line) + len(tail) <= width:
        return [f"{head}{line}{tail}"]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if line is None:
            pieces = [
                piece
                for text in node.value.splitlines(keepends=True)
                for piece in _pieces(text, width - 4, width - 4)
            ]
            return [f"{head}(", *(f"    {piece}" for piece in pieces), f"){tail}"]
        first, *rest = _pieces(node.value, width - len(head), width - 5)
        lines = [f"{head}{first}", *(f"    {piece}" for piece in rest)]
        return [*lines[:-1], f"{lines[-1]}{tail}"]
    opening, closing, items = _brackets(node)
    if not items:
        return [f"{head}{line}{tail}"]
    inner = _filled(items, width - 4, single=isinstance(node, ast.Dict))
    return [f"{head}{opening}", *(f"    {one}" for one in inner), f"{closing}{tail}"]


def _pieces(text: str, first: int, width: int) -> Iterator[str]:
    """Literals that together are ``text``, broken before spaces to fit into their lines."""
    room = first
    while len(string(text)) > room:
        cut = text.rfind(" ", 1, room - 2)
        if cut <= 0 or not text[:cut].strip():
            break
        yield string(text[:cut])
        text = text[cut:]
        room = width
    yield string(text)


def _filled(items: Sequence[tuple[str, ast.expr]], width: int, *, single: bool) -> Iterator[str]:
    """Items of a bracket, as many as fit on a line; one of several lines has them to itself.

    The columns and constraints of a table are read one by one, and so are pairs (``single``).
    """
    single = single or any(_is_item(node) for _, node in items)
    pending = ""
    for prefix, node in items:
        line = _line(node)
        whole = "" if line is None else f"{prefix}{line},"
        if whole and pending and not single and len(pending) + 1 + len(whole) <= width:
            pending += f" {whole}"
            continue
        if pending:
            yield pending
            pending = ""
        if whole and len(whole) <= width:
            pending = whole
        else:
            yield from _nested(node, prefix, width)
    if pending:
        yield pending


def _nested(node: ast.expr, prefix: str, width: int) -> list[str]:
    """An item that takes several lines; of a column or constraint the first line is filled, too."""
    opening, closing, items = _brackets(node)
    values = [_line(value) for _, value in items]
    if not _is_item(node) or None in values:
        return _layout(node, prefix, ",", width)
    lines = [f"{prefix}{opening}"]
    for number, ((name, inner), value) in enumerate(zip(items, values, strict=True)):
        end = f"{closing}," if number == len(items) - 1 else ","
        space = " " if number else ""
        piece = f"{name}{value}{end}"
        if len(lines[-1]) + len(space) + len(piece) > width and (number or len(piece) > width - 4):
            lines += (f"    {line}" for line in _layout(inner, name, end, width - 4))
        else:
            lines[-1] += space + piece
    return lines


def _is_item(node: ast.expr) -> bool:
    """A column or constraint of ``op.create_table``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr == "Column" or node.func.attr.endswith("Constraint"))
    )


def _brackets(node: ast.expr) -> tuple[str, str, list[tuple[str, ast.expr]]]:
    """Opening, closing and (prefix, value) items of a call, list, tuple or dictionary."""
    if isinstance(node, ast.Call):
        items = [("", argument) for argument in node.args]
        items += [(f"{one.arg}=" if one.arg else "**", one.value) for one in node.keywords]
        return f"{_line(node.func)}(", ")", items
    if isinstance(node, ast.List):
        return "[", "]", [("", item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return "(", ")", [("", item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return "{", "}", [(f"{_key(key)}: " if key else "**", value) for key, value in pairs]
    return "", "", []


def _key(node: ast.expr) -> str:
    """The key of a dictionary; it stays on one line whatever it holds."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return string(node.value)
    return ast.unparse(node)


def _line(node: ast.expr) -> str | None:
    """An expression on one line; None where a string of several lines is in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return None if "\n" in node.value.rstrip("\n") else string(node.value)
    opening, closing, items = _brackets(node)
    if not opening:
        return ast.unparse(node)
    parts = [(prefix, _line(value)) for prefix, value in items]
    if any(part is None for _, part in parts):
        return None
    comma = "," if isinstance(node, ast.Tuple) and len(parts) == 1 else ""
    return f"{opening}{', '.join(f'{prefix}{part}' for prefix, part in parts)}{comma}{closing}"
