"""The tables that the models declare, with their keys, foreign keys and checks."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Table, UniqueConstraint

import models
from ddl import Declared
from ddl.rollups import RollupState
from models.shared.base import TIMESERIES

TABLES = models.metadata.sorted_tables
ROLLUPS = Declared.on(models.metadata).of(RollupState)
HYPERTABLES = [table for table in TABLES if table.schema == TIMESERIES]
TENANT_HYPERTABLES = [table for table in HYPERTABLES if models.SCOPES[table.key] == "tenant"]
TENANT_TABLES = [
    table for table in TABLES if models.SCOPES[table.key] == "tenant" and table not in HYPERTABLES
]


def keys(table: Table) -> Iterator[tuple[str, list[str], str]]:
    """(name, columns or expressions, predicate) of every unique key and index of ``table``."""
    yield str(table.primary_key.name), [c.name for c in table.primary_key.columns], ""
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield str(constraint.name), [column.name for column in constraint.columns], ""
    for index in table.indexes:
        if index.dialect_options["postgresql"]["using"]:
            continue
        predicate = index.dialect_options["postgresql"]["where"]
        yield str(index.name), parts(index), "" if predicate is None else str(predicate)


def parts(index: Index) -> list[str]:
    """The columns and expressions of ``index``, in order."""
    return [getattr(part, "name", None) or str(part) for part in index.expressions]


def foreign_keys() -> Iterator[tuple[Table, ForeignKeyConstraint]]:
    """Every foreign key with its table."""
    for table in TABLES:
        for constraint in sorted(table.foreign_key_constraints, key=lambda found: str(found.name)):
            yield table, constraint


def checks(table: Table) -> Iterator[CheckConstraint]:
    """The CHECK constraints of ``table``."""
    for constraint in table.constraints:
        if isinstance(constraint, CheckConstraint):
            yield constraint


def assert_none(findings: list[str]) -> None:
    """Fail with one line per finding."""
    assert not findings, "\n" + "\n".join(findings)
