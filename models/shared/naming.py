"""How constraints and indexes are named: by their table and by their columns without tenant_id."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, Table
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.schema import ColumnCollectionConstraint


def _own_columns(item: ColumnCollectionConstraint | Index, _table: Table) -> str:
    """The columns of a constraint or index without tenant_id, unless that is all there is."""
    if isinstance(item, ForeignKeyConstraint):
        names = list(item.column_keys)
    else:
        names = [column.name for column in item.columns]
    return "_".join([name for name in names if name != "tenant_id"] or names)


NAMING_CONVENTION: dict[Any, Any] = {
    "own_columns": _own_columns,
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(own_columns)s",
    "uq": "uq_%(table_name)s_%(own_columns)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(own_columns)s",
    ExcludeConstraint: "ex_%(table_name)s_%(constraint_name)s",
}
