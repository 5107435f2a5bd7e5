"""The models built in shadow schemas inside a savepoint, read back, and rolled back.

Both sides of the comparison come from the same queries on the same server, so no SQL is
parsed or normalized here, and what is equal is spelled alike. Nothing is left behind;
live tables are only read (ACCESS SHARE locks until the surrounding transaction ends).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData

from ddl import buckets, of_extensions, session, sql
from ddl.base import Declared, Key, State
from ddl.catalog import Catalog, read, read_global, rename, renamed
from ddl.community_rollups import check_rollups
from ddl.creation import (
    ModelError,
    Unit,
    create,
    unit_of,
    units,
    units_of_tables,
)
from ddl.dependents import Dependents, dependents
from ddl.edition import APACHE, COMMUNITY, POSTGRESQL
from ddl.in_shadow import InShadow, mentioned
from ddl.kinds import KINDS
from ddl.kinds.function import FunctionState
from ddl.kinds.grant import GrantState
from ddl.kinds.unmanaged import kept
from ddl.mention import late_functions
from ddl.respelling import respelled

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
                    f" which is in the database but in no model; declare it, or, if it is"
                    f" declared, spell it {'.'.join(map(sql.ident, identity[1][:2]))} there"
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
    tables = list(units_of_tables(metadata))
    text = "\n".join(statement for unit in tables for statement in unit.statements)
    late = _late(metadata, text)
    sql.send(connection, session.fix(local=True))
    current = read_global(connection, schemas)
    with _savepoint(connection):
        _end_publications(connection, edition)
        _build_database(connection, metadata, edition)
        if edition == POSTGRESQL and buckets.missing(connection):
            sql.send(connection, buckets.creation())
        listed = units(metadata, tables, edition)
        known = _known(metadata, text, names) - _of_extensions(connection, schemas)
        in_shadow = InShadow(names, known)
        _build(connection, listed, in_shadow)
        of_extensions.check_operators(connection, listed, back)
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


def _end_publications(connection: Connection, edition: str) -> None:
    """TimescaleDB makes no hypertable beside a publication of all tables, a superuser's."""
    if edition != POSTGRESQL and connection.scalar(sa.text(_MAY_DROP)):
        for name in connection.scalars(
            sa.text("SELECT pubname FROM pg_publication WHERE puballtables")
        ).all():
            sql.send(connection, f"DROP PUBLICATION {sql.ident(name)}")


_MAY_DROP = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"


def _build_database(connection: Connection, metadata: MetaData, edition: str) -> None:
    """Create what belongs to the database as a whole, as a revision would."""
    declared = Declared.on(metadata)
    kinds = [kind for kind in KINDS if not kind.in_schema and kind.operation is not None]
    found = [
        unit_of(kind, state, set(), edition)
        for kind in sorted(kinds, key=lambda kind: kind.create)
        for state in sorted(declared.of(kind.state).values(), key=lambda state: state.key)
    ]
    if found:
        create(connection, found, [sql.DEFAULT_SCHEMA])


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


def _build(connection: Connection, listed: Sequence[Unit], in_shadow: InShadow) -> None:
    """Create everything declared, in the shadow schemas."""
    names = in_shadow.names
    extensions = connection.scalars(
        sa.text(
            "SELECT DISTINCT n.nspname FROM pg_extension e"
            " JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname <> 'plpgsql' AND n.nspname <> 'pg_catalog' ORDER BY 1"
        )
    ).all()
    of_extensions.check_names(connection, listed)
    own = [sql.ident(name) for name in extensions if name not in names]
    shared = [sql.ident(name) for name in extensions if name in names]
    paths = [", ".join([names[sql.DEFAULT_SCHEMA], *own, *more]) for more in ([], shared)]
    preamble = [f"CREATE SCHEMA {name}" for name in names.values()]
    # Default privileges apply to the live objects, but no model declares them.
    preamble += connection.scalars(_DEFAULT_PRIVILEGES)
    sql.send(connection, ";".join(preamble))
    for unit in listed:
        unit.statements = [in_shadow(statement) for statement in unit.statements]
    try:
        create(connection, listed, paths)
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


def _known(metadata: MetaData, of_tables: str, names: dict[str, str]) -> set[Key]:
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
    # Sequences come with tables; a type is another tool's.
    types = ("composite type", "domain", "enum", "range type")
    found.update(
        key
        for key in mentioned(names, of_tables)
        if not any(kept(metadata, f"{kind} {'.'.join(map(sql.ident, key))}") for kind in types)
    )
    return found


def _late(metadata: MetaData, of_tables: str) -> set[str]:
    """The names of the declared functions that come after the tables."""
    declared = Declared.on(metadata)
    relations = _tables(metadata)
    for kind in KINDS:
        if kind.relation and kind.state is not FunctionState:
            relations.update(declared.of(kind.state))
    functions = declared.of(FunctionState).values()
    return late_functions(functions, relations, of_tables)
