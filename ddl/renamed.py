"""A declaration in models: what a table and its columns were called before."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declaration, Declared, State


class RenamedFrom(Declaration):
    """The former names: ``RenamedFrom("sites")``, ``RenamedFrom(town="city")``.

    Autogenerate then renames the table ``sites`` to the one of the model, and its column ``city``
    to ``town``. Where nothing has the former name any longer, the declaration means nothing and
    may be removed.

    Args:
        table: ``"sites"``, or ``"plant.sites"`` where it was in another schema.
        columns: the former name of each column.

    Raises:
        sqlalchemy.exc.ArgumentError: a column is not in the table, or its former name still is.
    """

    def __init__(self, table: str | None = None, **columns: str) -> None:
        self.table = table
        self.columns = columns

    def states(self, table: Table) -> Iterator[State]:
        """None: what something was called is no object."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        former = Declared.on(table.metadata).former
        if self.table is not None:
            parts = [sql.unquoted(part) for part in re.findall(sql.IDENT, self.table)]
            former["table", (schema, table.name)] = (
                (parts[0], parts[1]) if len(parts) > 1 else (schema, *parts)
            )
        for name, old in self.columns.items():
            if name not in table.c or old in table.c:
                found = "has no column" if name not in table.c else "still has a column"
                raise ArgumentError(
                    f"table {table.name}: RenamedFrom({name}={old!r}), but the table {found} "
                    f"{name if name not in table.c else old}; write the new name, then the former"
                )
            former["column", (schema, table.name, table.c[name].name)] = (
                schema,
                table.name,
                old,
            )
        yield from ()
