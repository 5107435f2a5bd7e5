"""The models built in shadow schemas inside a savepoint, read back, and rolled back.

Both sides of the comparison come from the same queries on the same server, so no SQL is
parsed or normalized here, and what is equal is spelled alike. Nothing is left behind;
live tables are only read (ACCESS SHARE locks until the surrounding transaction ends).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData
from sqlalchemy.engine.mock import create_mock_engine

from ddl import buckets, session, sql
from ddl.base import Declared, Key, State
from ddl.catalog import Catalog, read, read_global, rename, renamed
from ddl.community import check_rollups
from ddl.dependents import Dependents, dependents
from ddl.edition import APACHE, COMMUNITY, POSTGRESQL
from ddl.in_shadow import InShadow, mentioned
from ddl.kinds import KINDS
from ddl.kinds.function import FunctionState
from ddl.kinds.grant import GrantState
from ddl.mention import by_mention, late_functions
from ddl.plan import Phase
from ddl.refusal import refusal
from ddl.respelling import respelled


class ModelError(Exception):
    """The declared models cannot be built; says which statement the server refused."""


Examine: TypeAlias = Callable[[Connection, Mapping[str, str]], None]


@dataclass(frozen=True)
class Comparison:
    """Both catalogs in one spelling, and in each what depends on what."""

    target: Catalog
    current: Catalog
    target_dependents: Dependents
    current_dependents: Dependents
    late: set[str]
    """The names of functions that come after the tables."""
    undeclared: Dependents
    """What declarations refer to although it is no declaration."""

    def reject_undeclared(self) -> None:
        """A name that no model declares may still be found where an extension is in public.

        Raises:
            ModelError: a declaration refers to something of ``current`` by such a name.
        """
        for identity, others in sorted(self.undeclared.items()):
            if self.current.get(identity) is not None:
                kind, key = min(others)
                raise ModelError(
                    f"{kind} {'.'.join(key)} refers to {identity[0]} {'.'.join(identity[1])},"
                    f" which is in the database but in no model; declare it"
                )


def schemas_of(metadata: MetaData) -> list[str]:
    """Every schema that the models use, the default one included, sorted."""
    # SQLAlchemy has no public list of sequences.
    listed = [*metadata.tables.values(), *metadata._sequences.values()]
    named = {item.schema for item in listed if item.schema}
    declared = Declared.on(metadata)
    for kind in KINDS:
        if kind.in_schema:
            named.update(key[0] for key in declared.of(kind.state))
    return sorted(named | {sql.DEFAULT_SCHEMA})


def _tables(metadata: MetaData) -> set[Key]:
    return {(table.schema or sql.DEFAULT_SCHEMA, table.name) for table in metadata.tables.values()}


def compare(
    connection: Connection, metadata: MetaData, edition: str, examine: Examine | None = None
) -> Comparison:
    """Build the models in shadow schemas as ``edition`` can, read both sides, roll back.

    What stays for the rest of the transaction are the settings of ``ddl.session``.

    Args:
        examine: is called while the models are there, with the schemas' names in the shadow.

    Raises:
        ModelError: the server refuses a declaration; the message holds its reason.
        alembic.util.CommandError: TimescaleDB takes no such rollup; the message says what to write.
    """
    try:
        return _compared(connection, metadata, edition, examine)
    except ModelError:
        if edition == COMMUNITY:
            # Its rollups as views: what is wrong with one is said as on every other edition.
            _compared(connection, metadata, APACHE)
        raise


def _compared(
    connection: Connection, metadata: MetaData, edition: str, examine: Examine | None = None
) -> Comparison:
    schemas = schemas_of(metadata)
    # Names of their own per server process: two checks at once must not wait for each other.
    process = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    names = {schema: f"{sql.SHADOW}{process}_{number}_" for number, schema in enumerate(schemas)}
    back = {shadow: schema for schema, shadow in names.items()}
    tables = _table_statements(metadata)
    late = _late(metadata, tables)
    sql.send(connection, session.fix(local=True))
    current = read_global(connection, schemas)
    with _savepoint(connection):
        _build_database(connection, metadata, edition)
        if edition == POSTGRESQL and buckets.missing(connection):
            sql.send(connection, buckets.creation())
        declared = declared_statements(metadata, tables, late, edition)
        known = _known(metadata, tables, names) - _of_extensions(connection, schemas)
        in_shadow = InShadow(names, known)
        _build(connection, [in_shadow(one) for one in declared], in_shadow)
        connection.execute(sa.text("SET LOCAL search_path = pg_catalog"))
        both = read(connection, [*schemas, *back])
        edges = dependents(connection, [*schemas, *back], both)
        target, found = _sides(both, current, in_shadow, metadata)
        check_rollups(connection, metadata, target, names if edition != COMMUNITY else {})
        target = respelled(
            connection, settled(target, found, metadata), found, names, in_shadow, edition
        )
        if examine is not None:
            examine(connection, names)
    sides: dict[tuple[bool, bool], Dependents] = {}
    for identity, others in edges.items():
        for one in others:
            side = sides.setdefault((identity[1][0] in back, one[1][0] in back), {})
            side.setdefault(rename(identity, back), set()).add(rename(one, back))
    return Comparison(
        target,
        found,
        sides.get((True, True), {}),
        sides.get((False, False), {}),
        late,
        sides.get((False, True), {}),
    )


def _sides(
    both: Catalog, current: Sequence[State], in_shadow: InShadow, metadata: MetaData
) -> tuple[Catalog, Catalog]:
    """The target and the current side of what was read, with what belongs to no schema."""
    targets: list[State] = []
    currents = [*current]
    for kind in KINDS:
        if not kind.in_schema:
            targets += Declared.on(metadata).of(kind.state).values()
    for state in both.states():
        if state.key[0] in in_shadow.back:
            targets.append(renamed(state, in_shadow.back, in_shadow.texts))
        else:
            currents.append(state)
    return Catalog(targets), Catalog(currents)


def settled(target: Catalog, current: Catalog, metadata: MetaData) -> Catalog:
    """The target with those current states that mean the same as the declared ones."""
    found = []
    for kind in KINDS:
        currents = current.of(kind.state)
        for key, state in target.of(kind.state).items():
            settles = kind.settle is not None and key in currents and state != currents[key]
            found.append(
                kind.settle(metadata, state, currents[key]) if settles and kind.settle else state
            )
    return Catalog(found)


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    savepoint = connection.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


def _build_database(connection: Connection, metadata: MetaData, edition: str) -> None:
    """Create what belongs to the database as a whole, as a revision would."""
    declared = Declared.on(metadata)
    found: list[str] = []
    for kind in sorted(KINDS, key=lambda kind: kind.create):
        if not kind.in_schema:
            states = sorted(declared.of(kind.state).values(), key=lambda state: state.key)
            found += _creations(states, edition)
    if found:
        _execute(connection, [f"SET LOCAL search_path = {sql.DEFAULT_SCHEMA}", *found])


def _of_extensions(connection: Connection, schemas: Sequence[str]) -> set[Key]:
    """What extensions have in the models' own schemas: it has no shadow."""
    rows = connection.execute(_OF_EXTENSIONS, {"schemas": list(schemas)})
    return {(row.schema, row.name) for row in rows}


_OF_EXTENSIONS = sa.text("""
SELECT n.nspname AS schema, o.name
  FROM (SELECT 'pg_type'::regclass, oid, typname, typnamespace FROM pg_type
        UNION ALL SELECT 'pg_proc'::regclass, oid, proname, pronamespace FROM pg_proc
        UNION ALL SELECT 'pg_class'::regclass, oid, relname, relnamespace FROM pg_class)
       AS o (class, oid, name, namespace)
  JOIN pg_namespace n ON n.oid = o.namespace
  JOIN pg_depend e ON e.classid = o.class AND e.objid = o.oid AND e.deptype = 'e'
 WHERE n.nspname = ANY (CAST(:schemas AS name[]))
""")


def _build(connection: Connection, statements: Sequence[str], in_shadow: InShadow) -> None:
    """Create everything declared, in the shadow schemas, in one round trip."""
    names = in_shadow.names
    preamble: list[str] = []
    extensions = connection.scalars(
        sa.text(
            "SELECT DISTINCT n.nspname FROM pg_extension e"
            " JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname <> 'plpgsql' AND n.nspname <> 'pg_catalog' ORDER BY 1"
        )
    )
    path = ", ".join([names[sql.DEFAULT_SCHEMA], *(sql.ident(name) for name in extensions)])
    preamble += [f"CREATE SCHEMA {name}" for name in names.values()]
    preamble += [f"SET LOCAL search_path = {path}"]
    # Default privileges apply to the live objects, but no model declares them.
    preamble += connection.scalars(_DEFAULT_PRIVILEGES)
    try:
        _execute(connection, [*preamble, *statements])
    except ModelError as error:
        raise ModelError(rename(str(error), in_shadow.back, in_shadow.texts)) from error


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


def _known(metadata: MetaData, table_statements: Sequence[str], names: dict[str, str]) -> set[Key]:
    """What the models put into their schemas: other names after a dot are columns or undeclared."""
    declared = Declared.on(metadata)
    found = {*_tables(metadata)}
    for kind in KINDS:
        if kind.relation:
            found.update(key[:2] for key in declared.of(kind.state))
    # A sequence that comes with its column stands in no statement but GRANT.
    for schema, on in declared.of(GrantState):
        noun, _, name = on.partition(" ")
        if noun == "sequence" and name:
            found.add((schema, name))
    # Types and sequences come with tables.
    found.update(mentioned(names, "\n".join(table_statements)))
    return found


def _execute(connection: Connection, statements: Sequence[str]) -> None:
    """All statements at once; only where that fails one by one, to name the one that fails."""
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
            reason = refusal(error.orig, statement)
            raise ModelError(f"the server refuses a declaration: {reason}") from error


def _late(metadata: MetaData, table_statements: Sequence[str]) -> set[str]:
    """The names of the declared functions that come after the tables."""
    declared = Declared.on(metadata)
    relations = _tables(metadata)
    for kind in KINDS:
        if kind.relation and kind.state is not FunctionState:
            relations.update(declared.of(kind.state))
    functions = declared.of(FunctionState).values()
    return late_functions(functions, relations, "\n".join(table_statements))


def declared_statements(
    metadata: MetaData, table_statements: Sequence[str], late: set[str], edition: str
) -> list[str]:
    """The SQL that creates all that the models declare in schemas, in an order that works."""
    declared = Declared.on(metadata)
    kinds = sorted(KINDS, key=lambda kind: kind.create)
    mentioned = [
        state for kind in kinds if kind.by_mention for state in declared.of(kind.state).values()
    ]
    early = [one for one in mentioned if isinstance(one, FunctionState) and one.name not in late]
    found: list[str] = []
    pending = [state for state in mentioned if state not in early]
    views = {state.relation for state in pending}
    waiting: list[State] = []
    for kind in kinds:
        if kind.create == Phase.TABLES:
            # A function that a table needs may need a sequence.
            sequences = [one for one in table_statements if one.startswith("CREATE SEQUENCE ")]
            found += sequences
            found += _creations(by_mention(early), edition)
            found += [one for one in table_statements if one not in sequences]
        if kind.create > Phase.FUNCTIONS_OVER_TABLES and pending:
            # What serves a view, such as its indexes, waits for it.
            found += _creations([*by_mention(pending), *waiting], edition)
            pending = []
        if kind.in_schema and not kind.by_mention:
            states = sorted(declared.of(kind.state).values(), key=lambda state: state.key)
            if pending:
                waiting += [state for state in states if state.relation in views]
                states = [state for state in states if state.relation not in views]
            found += _creations(by_mention(states) if kind.relation else states, edition)
    return found


def _creations(states: Iterable[State], edition: str) -> list[str]:
    """The SQL that creates ``states``, in their order."""
    found: list[str] = []
    for state in states:
        operation = _OPERATIONS[state.kind]
        found += operation(None, state).statements(edition)
    return found


_OPERATIONS: dict[str, Any] = {kind.name: kind.operation for kind in KINDS if kind.operation}


def _table_statements(metadata: MetaData) -> list[str]:
    """What ``create_all`` would send, without CONCURRENTLY, which needs no transaction."""
    found: list[str] = []

    def collect(element: Any, *_: Any, **__: Any) -> None:
        found.append(re.sub(r"\bINDEX CONCURRENTLY\b", "INDEX", sql.compiled(element)))

    metadata.create_all(create_mock_engine("postgresql+psycopg://", collect), checkfirst=False)
    return found
