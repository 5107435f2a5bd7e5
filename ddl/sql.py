"""SQL text: quoting, reading, running. Knows no kind of object."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

DEFAULT_SCHEMA = "public"
"""Objects of this schema are written without a schema name, as Alembic does for tables."""

SHADOW = "_shadow_"
"""What the names of shadow schemas begin with."""

# A named paramstyle, since the others double every % for their driver.
DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_PREPARER = DIALECT.identifier_preparer
_LIST_SETTINGS = {"search_path", "temp_tablespaces", "session_preload_libraries"}


def ident(name: str) -> str:
    """``name`` as an identifier of SQL, quoted only where it must be."""
    return str(_PREPARER.quote(name))


def qualified(schema: str, name: str) -> str:
    """``schema.name``, or ``name`` alone in the default schema."""
    return ident(name) if schema == DEFAULT_SCHEMA else f"{ident(schema)}.{ident(name)}"


def literal(value: str) -> str:
    """``value`` as an SQL string literal (standard_conforming_strings is on everywhere)."""
    return "'" + value.replace("'", "''") + "'"


def role(name: str) -> str:
    """A role name for TO and FROM clauses; PUBLIC is a keyword there, not a name."""
    return "PUBLIC" if name.upper() == "PUBLIC" else ident(name)


def dollar_quoted(body: str) -> str:
    """``body`` between dollar quotes whose tag the body does not contain."""
    tag = "$function"
    while tag in body:
        tag += "_"
    return f"{tag}${body}{tag}$"


def setting_value(name: str, value: str) -> str:
    """The value of a SET clause: lists of names stay as they are, the rest is a literal."""
    if name in _LIST_SETTINGS:
        return value if value not in ("", '""') else "''"
    return literal(value)


def comment_on(what: str, comment: str | None) -> str:
    """COMMENT ON ``what``; None removes the comment."""
    return f"COMMENT ON {what} IS {'NULL' if comment is None else literal(comment)}"


IDENT = r'"(?:[^"]|"")+"|[^\W\d][\w$]*'
_QUIET = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.S)
_RELATION = re.compile(
    rf"(?:\b(?:from|join|only|into|update|table|using)\s|,|::)[\s(]*(?:({IDENT})\.)?({IDENT})",
    re.I,
)


def unquoted(identifier: str) -> str:
    """The name that an identifier of SQL means: folded to lower case, unless in quotes."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.lower()


def words(text: str) -> set[str]:
    """The names that ``text`` may mean: its identifiers outside strings and comments."""
    return {unquoted(match[0]) for match in re.finditer(IDENT, _QUIET.sub(" ", text))}


def calls(text: str) -> set[str]:
    """The names that stand before an opening parenthesis: functions, among other things."""
    return {unquoted(match[1]) for match in re.finditer(rf"({IDENT})\s*\(", _QUIET.sub(" ", text))}


def relations(text: str, schemas: Collection[str]) -> set[tuple[str, str]]:
    """(schema, name) where a query names tables and views, or casts to their row type.

    ``schemas`` are needed to tell a schema from a table that stands before its column.
    """
    found = [
        (unquoted(match[1]) if match[1] else DEFAULT_SCHEMA, unquoted(match[2]))
        for match in _RELATION.finditer(_QUIET.sub(" ", text))
    ]
    return {(schema, name) for schema, name in found if schema in {*schemas, DEFAULT_SCHEMA}}


def split_list(text: str) -> list[str]:
    """Split at commas that stand outside parentheses and quotes; white space becomes one space.

    ``'select, update (a, b)'`` has two parts.
    """
    parts, depth = [""], 0
    for piece in re.findall(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\s+|.", text):
        depth += (piece in "([") - (piece in ")]")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += " " if piece.isspace() else piece
    return [part.strip() for part in parts if part.strip()]


def escaped(text: str) -> str:
    """``text`` for SQLAlchemy's ``text()``, which takes ``:name`` for a bind parameter."""
    mistakable = re.search(r"(?<![:\w]):\w|\\:", text)
    return text.replace(":", r"\:") if mistakable else text


def terminated(statement: str) -> str:
    """``statement`` with its semicolon, which must not end up in a comment."""
    return statement + ("\n;" if "--" in statement.rpartition("\n")[2] else ";")


def run(operations: Operations, statements: Iterable[str]) -> None:
    """Execute each statement as it stands, online or into the ``--sql`` script.

    Alembic would write a tab into the script as four spaces, in function bodies too.
    """
    context = operations.get_context()
    for statement in statements:
        if context.as_sql:
            context.impl.static_output(terminated(statement))
        else:
            operations.execute(sa.text(escaped(statement)))


def send(connection: Connection, script: str) -> None:
    """Send ``script`` (any number of statements) unchanged: without parameters, % is plain text."""
    connection.exec_driver_sql(script, execution_options={"no_parameters": True})


def constraint_name(element: Any) -> str | None:
    """The name that a constraint or index has on the server: by convention, cut to 63 bytes."""
    formatted = _PREPARER.format_constraint(element)
    return unquoted(formatted) if formatted is not None else None


def compiled(element: Any) -> str:
    """A SQLAlchemy DDL element as PostgreSQL text, every % as it stands."""
    return str(element.compile(dialect=DIALECT)).strip()
