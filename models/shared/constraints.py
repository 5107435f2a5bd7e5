"""Constraints of many tables, and foreign keys between tenant tables."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import CheckConstraint, ForeignKeyConstraint


def tenant_reference(
    columns: str | Sequence[str],
    table: str,
    target: str | Sequence[str] | None = None,
    *,
    on_delete: str = "no action",
) -> ForeignKeyConstraint:
    """A foreign key between tenant tables, which always includes tenant_id.

    PostgreSQL checks foreign keys without row-level security, so without tenant_id a tenant could
    refer to the rows of another.

    Args:
        columns: the referring columns besides tenant_id.
        target: the referenced columns besides tenant_id, if their names differ.
        on_delete: ``no action``, ``cascade`` or ``set null`` (tenant_id is kept).
    """
    own = [columns] if isinstance(columns, str) else list(columns)
    other = [target] if isinstance(target, str) else list(target or own)
    action = f"SET NULL ({', '.join(own)})" if on_delete == "set null" else on_delete.upper()
    return ForeignKeyConstraint(
        ["tenant_id", *own],
        [f"{table}.tenant_id", *(f"{table}.{column}" for column in other)],
        ondelete=None if action == "NO ACTION" else action,
    )


def one_of(column: str, values: Sequence[str], name: str | None = None) -> CheckConstraint:
    """A CHECK that limits a text column to a list of values.

    Operators of native enums are not leakproof, so row-level security would prevent the use of an
    index.
    """
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


def not_empty(column: str) -> CheckConstraint:
    """A CHECK that rejects the empty string."""
    return CheckConstraint(f"{column} <> ''", name=f"{column}_not_empty")


def json_object(column: str) -> CheckConstraint:
    """A CHECK that accepts JSON objects only."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'object'", name=f"{column}_object")


def json_array(column: str) -> CheckConstraint:
    """A CHECK that accepts JSON arrays only."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'array'", name=f"{column}_array")


def json_value(column: str) -> CheckConstraint:
    """A CHECK that rejects JSON null, for which SQL has NULL."""
    return CheckConstraint(f"jsonb_typeof({column}) <> 'null'", name=f"{column}_value")
