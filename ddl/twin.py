"""The models built in scratch schemas inside a savepoint, read back, and rolled back.

Both sides of the comparison come from the same queries on the same server, so no SQL is
parsed or normalised here and equal things are equal to the letter. Nothing is left behind;
live tables are only read (ACCESS SHARE locks until the surrounding transaction ends).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData
from sqlalchemy.engine.mock import create_mock_engine

from ddl import sql
from ddl.base import Declared, Identity, Key, State
from ddl.catalog import Catalog, dependents, read, rename, renamed
from ddl.columnstore import ColumnstoreOperation
from ddl.function import FunctionOperation, FunctionState
from ddl.grant import GrantOperation
from ddl.hypertable import HypertableOperation
from ddl.order import by_mention, late_functions
from ddl.policy import PolicyOperation, RowSecurityOperation
from ddl.retention import RetentionOperation
from ddl.rollup import RefreshOperation, RollupOperation
from ddl.trigger import TriggerOperation
from ddl.view import ViewOperation


class ModelError(Exception):
    """The declared models cannot be built; says which statement the server refused."""


Hanging = dict[Identity, set[Identity]]
"""For each object those that hang on it directly."""


@dataclass(frozen=True)
class Comparison:
    """Both catalogs in one spelling, and in each what hangs on what."""

    wanted: Catalog
    actual: Catalog
    wanted_hanging: Hanging
    actual_hanging: Hanging
    late: set[str]
    """The names of functions that come after the tables."""
    strangers: Hanging
    """What declarations refer to although it is no declaration."""

    def refuse_strangers(self) -> None:
        """A name that no model declares may still be found, where an extension lives in public.

        Raises:
            ModelError: a declaration refers to something of ``actual`` by such a name.
        """
        for identity, dependent_ones in sorted(self.strangers.items()):
            if self.actual.get(identity) is not None:
                kind, key = min(dependent_ones)
                raise ModelError(
                    f"{kind} {'.'.join(key)} refers to {identity[0]} {'.'.join(identity[1])},"
                    f" which is in the database but in no model; declare it"
                )


def schemas_of(metadata: MetaData) -> list[str]:
    """Every schema that the models use, the default one included, sorted."""
    named = {table.schema for table in metadata.tables.values() if table.schema}
    for states in Declared.on(metadata).states.values():
        named.update(key[0] for key in states)
    return sorted(named | {sql.DEFAULT_SCHEMA})


def _tables(metadata: MetaData) -> set[Key]:
    return {(table.schema or sql.DEFAULT_SCHEMA, table.name) for table in metadata.tables.values()}


def compare(connection: Connection, metadata: MetaData, edition: str) -> Comparison:
    """Build the twin as ``edition`` can, read both sides, roll back.

    Raises:
        ModelError: the server refuses a declaration; the message holds its reason.
    """
    schemas = schemas_of(metadata)
    # Names of their own per server process: two checks at once must not wait for each other.
    process = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    names = {schema: f"_twin_{process}_{number}_" for number, schema in enumerate(schemas)}
    back = {twin: schema for schema, twin in names.items()}
    tables = _table_statements(metadata)
    late = _late(metadata, tables)
    with _savepoint(connection):
        declared = declared_statements(metadata, tables, late, edition)
        _build(connection, declared, names, _known(metadata, tables, names))
        connection.execute(sa.text("SET LOCAL search_path = pg_catalog"))
        both = read(connection, [*schemas, *back])
        hanging = _of_rollups(dependents(connection, [*schemas, *back]), both)
    sides: dict[bool, list[State]] = {True: [], False: []}
    for kind in both.kinds():
        for key, state in both.of(kind).items():
            is_twin = key[0] in back
            sides[is_twin].append(renamed(state, back) if is_twin else state)
    edges: dict[tuple[bool, bool], Hanging] = {}
    for identity, dependent_ones in hanging.items():
        for one in dependent_ones:
            side = edges.setdefault((identity[1][0] in back, one[1][0] in back), {})
            side.setdefault(rename(identity, back), set()).add(rename(one, back))
    return Comparison(
        Catalog(sides[True]),
        Catalog(sides[False]),
        edges.get((True, True), {}),
        edges.get((False, False), {}),
        late,
        edges.get((False, True), {}),
    )


def _of_rollups(hanging: Hanging, both: Catalog) -> Hanging:
    """PostgreSQL knows a rollup as a view; here it is a kind of its own."""
    rollups = both.of("rollup")

    def known(identity: Identity) -> Identity:
        kind, key = identity
        return ("rollup", key) if kind == "view" and key in rollups else identity

    return {known(one): set(map(known, others)) for one, others in hanging.items()}


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    savepoint = connection.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


def _build(
    connection: Connection, declared: Sequence[str], names: dict[str, str], known: set[Key]
) -> None:
    """Create everything ``declared``, in the schemas ``names``, in one round trip."""
    extensions = connection.scalars(
        sa.text(
            "SELECT DISTINCT n.nspname FROM pg_extension e"
            " JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname <> 'plpgsql' AND n.nspname <> 'pg_catalog' ORDER BY 1"
        )
    )
    path = ", ".join([names[sql.DEFAULT_SCHEMA], *(sql.ident(name) for name in extensions)])
    preamble = [f"CREATE SCHEMA {name}" for name in names.values()]
    preamble += [f"SET LOCAL search_path = {path}", "SET LOCAL check_function_bodies = on"]
    # What new objects are given by default is given to the live ones, but declared by nobody.
    preamble += connection.scalars(_DEFAULT_PRIVILEGES)
    pattern = _qualified(names)

    def in_twin(match: re.Match[str]) -> str:
        spelled = match["qualifier"] or match["schema"]
        schema = sql.unquoted(spelled)
        if match["qualifier"] and (schema, sql.unquoted(match["name"])) not in known:
            return match[0]
        return names[schema] + match[0].removeprefix(spelled)

    try:
        _execute(connection, preamble + [pattern.sub(in_twin, statement) for statement in declared])
    except ModelError as error:
        back = {twin: schema for schema, twin in names.items()}
        raise ModelError(rename(str(error), back)) from error


_DEFAULT_PRIVILEGES = sa.text("""
SELECT DISTINCT format(
           'ALTER DEFAULT PRIVILEGES REVOKE ALL ON %s FROM %s',
           CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
                WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' END,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
  FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a
 WHERE d.defaclnamespace = 0 AND d.defaclrole = (SELECT oid FROM pg_roles
                                                  WHERE rolname = current_user)
   AND d.defaclobjtype IN ('r', 'S', 'f', 'T', 'n') AND a.grantee <> d.defaclrole
 ORDER BY 1
""")


def _qualified(schemas: Iterable[str]) -> re.Pattern[str]:
    """Matches ``qualifier.name``, and ``schema`` where GRANT names it without a dot behind it."""
    spelled = {spelling for name in schemas for spelling in (f'"{name}"', sql.ident(name))}
    one = "|".join(re.escape(spelling) for spelling in sorted(spelled))
    return re.compile(
        rf'(?<![\w."])(?P<qualifier>{one})\.(?P<name>{sql.IDENT})'
        rf"|(?<=\bON SCHEMA )(?P<schema>{one})(?!\w)",
        re.I,
    )


def _known(metadata: MetaData, table_statements: Sequence[str], names: dict[str, str]) -> set[Key]:
    """What the models put into their schemas: other names after a dot are columns and strangers."""
    declared = Declared.on(metadata)
    found = {*_tables(metadata)}
    for kind in ("view", "function", "rollup"):
        found.update(key[:2] for key in declared.of(kind))
    # Types and sequences come with tables.
    for match in _qualified(names).finditer("\n".join(table_statements)):
        if match["qualifier"]:
            found.add((sql.unquoted(match["qualifier"]), sql.unquoted(match["name"])))
    return found


def _execute(connection: Connection, statements: Sequence[str]) -> None:
    """All statements at once; only where that fails one by one, to name the culprit."""
    attempt = connection.begin_nested()
    try:
        sql.send(connection, "\n".join(map(sql.terminated, statements)))
        attempt.commit()
        return
    except sa.exc.DBAPIError:
        attempt.rollback()
    for statement in statements:
        try:
            sql.send(connection, statement)
        except sa.exc.DBAPIError as error:
            reason = str(error.orig).strip()
            raise ModelError(f"the server refuses a declaration: {reason}\n{statement}") from error


def _late(metadata: MetaData, table_statements: Sequence[str]) -> set[str]:
    """The names of the declared functions that come after the tables."""
    declared = Declared.on(metadata)
    relations = {*_tables(metadata), *declared.of("view"), *declared.of("rollup")}
    functions = declared.of("function").values()
    return late_functions(functions, relations, "\n".join(table_statements))


def declared_statements(
    metadata: MetaData, table_statements: Sequence[str], late: set[str], edition: str
) -> list[str]:
    """The SQL that creates all that the models declare, in an order that works."""
    declared = Declared.on(metadata)
    functions = declared.of("function").values()
    found: list[str] = []
    for state in by_mention(state for state in functions if state.name not in late):
        found += FunctionOperation(None, state).statements()
    found += table_statements
    found += time_series_statements(declared, edition)
    over_tables = [state for state in functions if state.name in late]
    for state in by_mention([*over_tables, *declared.of("view").values()]):
        operation = FunctionOperation if isinstance(state, FunctionState) else ViewOperation
        found += operation(None, state).statements()
    for kind, operation in _AFTER_TABLES:
        for key in sorted(declared.of(kind)):
            found += operation(None, declared.of(kind)[key]).statements()
    return found


def time_series_statements(declared: Declared, edition: str) -> list[str]:
    """Hypertables first, then rollups over them, then the policies of both."""
    found: list[str] = []
    for kind, operation in _TIME_SERIES:
        states = declared.of(kind).values()
        listed = by_mention(states) if kind == "rollup" else sorted(states, key=lambda s: s.key)
        for state in listed:
            found += operation(None, state).statements_on(edition)
    return found


_TIME_SERIES: Sequence[tuple[str, Any]] = (
    ("hypertable", HypertableOperation),
    ("rollup", RollupOperation),
    ("columnstore", ColumnstoreOperation),
    ("retention", RetentionOperation),
    ("refresh", RefreshOperation),
)

_AFTER_TABLES: Sequence[tuple[str, Any]] = (
    ("trigger", TriggerOperation),
    ("row security", RowSecurityOperation),
    ("policy", PolicyOperation),
    ("grant", GrantOperation),
)


def _table_statements(metadata: MetaData) -> list[str]:
    """What ``create_all`` would send, without CONCURRENTLY, which needs no transaction."""
    found: list[str] = []

    def collect(element: Any, *_: Any, **__: Any) -> None:
        found.append(re.sub(r"\bINDEX CONCURRENTLY\b", "INDEX", sql.compiled(element)))

    metadata.create_all(create_mock_engine("postgresql+psycopg://", collect), checkfirst=False)
    return found
