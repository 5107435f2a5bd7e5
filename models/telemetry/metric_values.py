"""How functions read the value of a metric, which is in a column of its own or in the JSON."""

from __future__ import annotations

from collections.abc import Collection

from ddl import sql
from models.shared.metrics import TYPES, as_stored
from models.telemetry.metrics import METRICS

ROWS = f"public.{as_stored('telemetry') if METRICS else 'telemetry'}"
"""The view that the functions read: where metrics have columns, the one that need not put the JSON
together for each row."""


def stored(metric: str, into: str, types: Collection[str]) -> str:
    """The value of a metric that has a column, or NULL; a constant ``metric`` leaves that column.

    Args:
        metric: its name, an SQL expression.
        into: the type to give it, with ``{}`` for the column.
        types: of the columns in question.
    """
    cases = [
        f"WHEN {sql.literal(one.name)} THEN {into.format(f't.{sql.ident(one.name)}')}"
        for one in METRICS
        if one.type in types
    ]
    return f"CASE {metric} {' '.join(cases)} END" if cases else ""


def as_json(metric: str) -> str:
    """The value of a metric as JSON, or NULL where the message has none."""
    columns = stored(metric, "to_jsonb({})", TYPES)
    value = f"t.metrics -> {metric}"
    return f"coalesce({columns}, {value})" if columns else f"({value})"
