"""Constraints that many tables have, and the foreign key between tables of tenants."""

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
    """A foreign key between tenant tables; it always carries tenant_id.

    PostgreSQL checks foreign keys without row security, so a key without tenant_id would let a
    tenant refer to the rows of another.

    Args:
        columns: the referring columns besides tenant_id.
        target: the columns referred to besides tenant_id, where their names differ.
        on_delete: ``no action``, ``cascade`` or ``set null`` (tenant_id itself stays).
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
    """A list of values as text and CHECK.

    Operators of native enums are not leakproof: row security would keep them from indexes.
    """
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


def not_empty(column: str) -> CheckConstraint:
    """Text that says something."""
    return CheckConstraint(f"{column} <> ''", name=f"{column}_not_empty")


def json_object(column: str) -> CheckConstraint:
    """A JSON object, nothing else."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'object'", name=f"{column}_object")


def json_array(column: str) -> CheckConstraint:
    """A JSON array, nothing else."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'array'", name=f"{column}_array")


def json_value(column: str) -> CheckConstraint:
    """Any JSON but null, which SQL says better."""
    return CheckConstraint(f"jsonb_typeof({column}) <> 'null'", name=f"{column}_value")
