"""Entity-relationship diagrams in Mermaid, as GitHub shows them."""

from __future__ import annotations

import re

from ddl.base import Key
from operations.documentation.facts import Facts, ForeignKey
from operations.documentation.readable_sql import type_name

NOT_DRAWN = {("public", "tenants"), ("public", "users")}
"""Nearly every table refers to these; their lines would hide all others."""

MOST_BOXES = 12

WIDE = 3
"""Tables side by side below one; with more the text gets small, so they are placed in a column."""


def diagram(facts: Facts, tables: list[Key]) -> str:
    """Tables with their key columns, and the other tables that they refer to as empty boxes.

    Empty where no line would be drawn: boxes alone add nothing to the text.
    """
    drawn = [key for key in facts.foreign_keys if key.table in tables and _is_drawn(key, tables)]
    outside = [key.target for key in drawn if key.target not in tables]
    allowed = sorted(set(outside), key=lambda key: (-outside.count(key), key))
    boxes = [*tables, *allowed[: max(MOST_BOXES - len(tables), 2)]]
    lines = [_line(facts, key) for key in drawn if key.target in boxes]
    if not lines:
        return ""
    connected = {table for key in drawn for table in (key.table, key.target)}
    found = ["```mermaid", "erDiagram"]
    if _widest(drawn, boxes) > WIDE:
        found.append("    direction LR")
    for table in tables:
        if table in connected:
            found += _box(facts, table, drawn)
    return "\n".join([*found, *sorted(set(lines)), "```"])


def _widest(drawn: list[ForeignKey], boxes: list[Key]) -> int:
    """The largest number of tables that refer to one, or that one refers to."""
    pairs = {(key.target, key.table) for key in drawn if key.target in boxes}
    ends = [[pair[place] for pair in pairs if pair[0] != pair[1]] for place in (0, 1)]
    return max((side.count(key) for side in ends for key in side), default=0)


def _is_drawn(key: ForeignKey, tables: list[Key]) -> bool:
    if key.columns == ("tenant_id",):
        return False
    return key.target in tables or key.target not in NOT_DRAWN


def _box(facts: Facts, table: Key, drawn: list[ForeignKey]) -> list[str]:
    keys = facts.constraints(table, "PRIMARY KEY")
    primary = keys[0].definition if keys else ""
    foreign = {
        name for key in drawn if key.table == table for name in key.columns if name != "tenant_id"
    }
    lines = []
    for column in facts.columns(table):
        is_primary = re.search(rf"[(, ]{re.escape(column.name)}[,)]", primary) is not None
        if not (is_primary or column.name in foreign):
            continue
        if column.name == "tenant_id" and primary.count(","):
            continue
        marks = [
            mark for mark, given in (("PK", is_primary), ("FK", column.name in foreign)) if given
        ]
        spelled = re.sub(r"[^\w\[\]]+", "_", type_name(column.type))
        lines.append(f"        {spelled} {column.name} {', '.join(marks)}")
    return [f"    {table[1]} {{", *lines, "    }"] if lines else []


def _line(facts: Facts, key: ForeignKey) -> str:
    nullable = {column.name for column in facts.columns(key.table) if not column.not_null}
    parent = "|o" if nullable & set(key.columns) else "||"
    alone = any(set(unique) <= set(key.columns) for unique in facts.keys(key.table))
    child = "o|" if alone else "o{"
    label = ", ".join(key.own_columns)
    return f'    {key.target[1]} {parent}--{child} {key.table[1]} : "{label}"'
