"""SQL text: quoting, reading, running. Knows no kind of object."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.base import PGIdentifierPreparer
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement, TextClause

DEFAULT_SCHEMA = "public"
"""Objects of this schema are written without a schema name, as Alembic does for tables."""

SHADOW = "_shadow_"
"""What the names of shadow schemas begin with."""

_KEYWORDS = """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user dec decimal default deferrable desc distinct do else end except
    exists extract false fetch float for foreign freeze from full grant greatest group grouping
    having ilike in initially inner inout int integer intersect interval into is isnull join json
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar
    json_serialize json_table json_value lateral leading least left like limit localtime
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif
    numeric offset on only or order out outer overlaps overlay placing position precision primary
    real references returning right row select session_user setof similar smallint some substring
    symmetric system_user table tablesample then time timestamp to trailing treat trim true union
    unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
"""
KEYWORDS = frozenset(_KEYWORDS.split())
"""What pg_get_keywords() lists in PostgreSQL 15 to 18, but for category U: no names everywhere."""

# SQLAlchemy knows about half of them. A column "lateral" could not be created, and one called
# "user" in a text is the name of the role.
PGIdentifierPreparer.reserved_words = PGIdentifierPreparer.reserved_words | KEYWORDS
# SQLAlchemy leaves a dollar sign without quotes, the server does not.
PGIdentifierPreparer.legal_characters = re.compile(r"^[a-z0-9_]+$")

# A named paramstyle, since the others double every % for their driver.
DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_PREPARER = DIALECT.identifier_preparer
_LIST_SETTINGS = {"search_path", "temp_tablespaces", "session_preload_libraries"}


@functools.cache
def ident(name: str) -> str:
    """``name`` as an identifier of SQL, quoted only where the server's quote_ident() does it."""
    return str(_PREPARER.quote(name))


def quoted(name: str) -> str:
    """The same in quotes in any case: PL/pgSQL has key words that SQL has not, such as ``by``."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """``schema.name``, or ``name`` alone in the default schema."""
    return ident(name) if schema == DEFAULT_SCHEMA else f"{ident(schema)}.{ident(name)}"


def literal(value: str) -> str:
    """``value`` as an SQL string literal (standard_conforming_strings is on everywhere)."""
    return "'" + value.replace("'", "''") + "'"


def role(name: str) -> str:
    """A role name for TO and FROM clauses; PUBLIC and CURRENT_USER are keywords there."""
    return name.upper() if name.upper() in ("PUBLIC", "CURRENT_USER") else ident(name)


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
STRING = r"\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'"
_CALL = re.compile(rf"({IDENT})\s*\(")
_QUIET = re.compile(rf"{STRING}|--[^\n]*|/\*.*?\*/", re.S)
_RELATION = re.compile(
    r"(?:\b(?:from|join|into|update|table|using)\b|,|::)[\s(]*(?:(?:only|lateral)\b[\s(]*)*"
    rf"(?:({IDENT})\s*\.\s*)?({IDENT})",
    re.I,
)


def unquoted(identifier: str) -> str:
    """The name that an identifier of SQL means: folded to lower case, unless in quotes."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.lower()


@functools.lru_cache(4096)
def words(text: str) -> frozenset[str]:
    """The names that ``text`` may mean: its identifiers outside strings and comments."""
    return frozenset(unquoted(name) for name in re.findall(IDENT, _QUIET.sub(" ", text)))


def parsed(text: str) -> str:
    """What the server parses of a statement at once: not strings, comments and text bodies."""
    return _QUIET.sub(" ", re.sub(r"\$(\w*)\$.*?\$\1\$", " ", text, flags=re.S))


@functools.lru_cache(4096)
def calls(text: str) -> frozenset[str]:
    """The names that stand before an opening parenthesis: functions, among other things."""
    if "(" not in text:
        return frozenset()
    return frozenset(unquoted(name) for name in _CALL.findall(_QUIET.sub(" ", text)))


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


def squeezed(text: str) -> str:
    """``text`` with every white space outside quotes as one space."""
    pieces = re.findall(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\s+|.", text, re.S)
    return "".join(" " if piece.isspace() else piece for piece in pieces).strip()


def escaped(text: str) -> str:
    """``text`` for SQLAlchemy's ``text()``, which takes ``:name`` for a bind parameter."""
    mistakable = re.search(r"(?<![:\w]):\w|\\:", text)
    return text.replace(":", r"\:") if mistakable else text


def as_written(metadata: MetaData) -> None:
    r"""Let every text in the tables of ``metadata`` reach the server as it is written.

    SQLAlchemy takes ``:name`` in a text for a parameter, even within a string, and writes NULL
    for it, since nobody gives DDL a value. As ever, ``\:`` is a colon.
    """
    for table in metadata.tables.values():
        for column in table.columns:
            # Alembic writes no CHECK that is a part of its column.
            for constraint in [*column.constraints]:
                column.constraints.discard(constraint)
                table.append_constraint(constraint)
        for expression in _expressions(table):
            if isinstance(expression, ClauseElement):
                for part in visitors.iterate(expression):
                    if isinstance(part, TextClause):
                        _unbind(part)


def _expressions(table: Table) -> Iterator[Any]:
    """Whatever may hold SQL: defaults, generated columns, constraints, indexes."""
    for column in table.columns:
        default: Any = column.server_default
        value = getattr(default, "arg", None)
        if isinstance(value, str) and "'" in (value[:1], value[-1:]):
            # Alembic would take these quotes for those of a literal and leave them out.
            default.arg = sa.text(escaped(literal(value)))
        yield getattr(default, "arg", None)
        yield getattr(column.computed, "sqltext", None)
    for constraint in table.constraints:
        yield getattr(constraint, "sqltext", None)
        yield getattr(constraint, "where", None)
        yield from (one[0] for one in getattr(constraint, "_render_exprs", ()))
    for index in table.indexes:
        yield from index.expressions
        options = index.dialect_options["postgresql"]
        if isinstance(options["where"], str):
            options["where"] = sa.text(options["where"])
        yield options["where"]


def _unbind(clause: TextClause) -> None:
    names = {name for name, bind in clause._bindparams.items() if bind.required}
    if names:
        clause.text = clause._bind_params_regex.sub(
            lambda match: f"\\{match[0]}" if match[1] in names else match[0], clause.text
        )
        clause._bindparams = {
            name: bind for name, bind in clause._bindparams.items() if name not in names
        }


def terminated(statement: str) -> str:
    """``statement`` with its semicolon, which must not end up in a comment."""
    return statement + ("\n;" if "--" in statement.rpartition("\n")[2] else ";")


def run(operations: Operations, statements: Iterable[str]) -> None:
    """Execute each statement as it stands, online or into the ``--sql`` script."""
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
