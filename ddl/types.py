"""Types by their SQL, where neither SQLAlchemy nor its dialect knows them."""

from __future__ import annotations

import re
from typing import Any

from alembic.operations import Operations
from sqlalchemy import Column
from sqlalchemy.types import TypeEngine, UserDefinedType

from ddl import sql


class SqlType(UserDefinedType[Any]):
    """A type that is nothing but its SQL: ``ltree``, ``ext.citext``."""

    cache_ok = True

    def __init__(self, text: str) -> None:
        self.text = text

    def get_col_spec(self, **_: Any) -> str:
        """The SQL."""
        return self.text


@Operations.register_operation("sql_type")
class SqlTypeDirective:
    """``op.sql_type("ext.citext")``, so that revisions import no type of a project."""

    @classmethod
    def sql_type(cls, operations: Operations, text: str) -> SqlType:  # noqa: ARG003
        """A type for ``sa.Column`` and the like."""
        return SqlType(text)


def found_by_revisions(column: Column[Any], spelling: str) -> Column[Any]:
    """``column`` with a type that revisions find, whose search_path is public alone.

    Args:
        spelling: the server's, with the schema of the type.
    """
    match = re.match(rf"({sql.IDENT})\.", spelling)
    if match is None or sql.unquoted(match[1]) == sql.DEFAULT_SCHEMA:
        return column
    if sql.compiled(column.type).startswith((f"{match[1]}.", f'"{match[1]}".')):
        return column
    copy = column._copy()
    copy.type = SqlType(spelling)
    return copy


def is_foreign(type_: TypeEngine[Any]) -> bool:
    """True for a class of a project or another package, which a revision must not import."""
    return not type(type_).__module__.startswith("sqlalchemy.")
