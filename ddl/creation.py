"""The declared objects created in an order that the server accepts.

What objects mention decides the order, as far as text can tell. What the server then refuses
because something does not exist yet is tried again once more exists.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from psycopg.errors import UndefinedFunction, UndefinedObject, UndefinedTable
from sqlalchemy import CheckConstraint, Connection, Constraint, MetaData, Table
from sqlalchemy.engine.mock import create_mock_engine
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable

from ddl import sql
from ddl.base import Declared, Key, State
from ddl.kind import Kind
from ddl.kinds import KINDS
from ddl.kinds.constraint import NOT_VALID
from ddl.kinds.function import FunctionState
from ddl.mention import called, read
from ddl.plan import Phase
from ddl.refusal import refusal


class ModelError(Exception):
    """The declared models cannot be built; says which statement the server refused."""


@dataclass(eq=False)
class Unit:
    """One object and what is created with it, in one piece or not at all."""

    title: str
    statements: list[str]
    relation: Key | None = None
    """What others read it as; of a function, ``function`` is what they call it."""
    function: str = ""
    calls: Collection[str] = ()
    reads: Collection[Key] = ()
    phase: Phase = Phase.TABLES


# --- what is declared ------------------------------------------------------------------------


def units(metadata: MetaData, tables: Iterable[Unit], edition: str) -> list[Unit]:
    """Everything that the models declare in schemas, in the order in which it is tried.

    Args:
        tables: of :func:`units_of_tables`.
    """
    found = [*tables]
    relations = {unit.relation for unit in found if unit.relation is not None}
    declared = Declared.on(metadata)
    kinds = [kind for kind in KINDS if kind.in_schema and kind.operation is not None]
    for kind in kinds:
        if kind.relation and kind.state is not FunctionState:
            relations.update(declared.of(kind.state))
    for kind in kinds:
        for state in sorted(declared.of(kind.state).values(), key=lambda state: state.key):
            found.append(unit_of(kind, state, relations, edition))
    return ordered(sorted(found, key=lambda unit: unit.phase))


def unit_of(kind: Kind[Any], state: State, relations: AbstractSet[Key], edition: str) -> Unit:
    """What ``state`` is created by, and which of ``relations`` it mentions."""
    operation: Any = kind.operation
    unit = Unit(
        state.title(),
        operation(None, state).statements(edition),
        calls=called(state),
        reads=read(state, relations),
        phase=kind.create,
    )
    if isinstance(state, FunctionState):
        unit.function = state.name
        if unit.reads:
            unit.phase = Phase.FUNCTIONS_OVER_TABLES
    elif state.relation is not None:
        unit.reads = {*unit.reads, state.relation}
        # A rollup needs more than its table: the hypertable.
        if kind.relation or kind.create == Phase.HYPERTABLES:
            unit.relation = state.relation
    return unit


def units_of_tables(metadata: MetaData) -> Iterator[Unit]:
    """What ``create_all`` would create, but for CONCURRENTLY, which needs no transaction.

    Whatever can be created after its table is a unit of its own: foreign keys, indexes, and
    checks that call functions of the models.
    """
    functions = {state.name for state in Declared.on(metadata).of(FunctionState).values()}
    elements: list[Any] = []
    engine = create_mock_engine("postgresql+psycopg://", lambda one, *_, **__: elements.append(one))
    metadata.create_all(engine, checkfirst=False)
    for element in elements:
        if isinstance(element, CreateTable):
            yield from _of_table(element, functions)
            continue
        text = re.sub(r"\bINDEX CONCURRENTLY\b", "INDEX", sql.compiled(element))
        phase, title = Phase.INDEXES, text.partition("\n")[0]
        if text.startswith("CREATE SEQUENCE "):
            phase = Phase.SEQUENCES
        elif isinstance(element, CreateIndex):
            title = f"index {element.element.name}"
        yield Unit(title, [text], calls=sql.calls(text) & functions, phase=phase)


def _of_table(element: CreateTable, functions: Collection[str]) -> Iterator[Unit]:
    table: Table = element.element
    keys: Any = element.include_foreign_key_constraints
    later: list[Constraint] = [*(table.foreign_key_constraints if keys is None else keys)]
    checks = [
        one
        for one in table.constraints
        if isinstance(one, CheckConstraint)
        and one._create_rule is None
        and sql.calls(str(one.sqltext)) & set(functions)
    ]
    for check in checks:
        check._create_rule = lambda _: False
    text = sql.compiled(CreateTable(table, include_foreign_key_constraints=[]))
    for check in checks:
        check._create_rule = None
    key = (table.schema or sql.DEFAULT_SCHEMA, table.name)
    name = ".".join(key)
    yield Unit(f"table {name}", [text], key, calls=sql.calls(text) & set(functions))
    for one in (*checks, *later):
        # In CREATE TABLE, NOT VALID means nothing.
        added = sql.compiled(AddConstraint(one, isolate_from_table=False)).removesuffix(NOT_VALID)
        title = f"constraint {name}.{sql.constraint_name(one)}"
        # A foreign key may need a unique index, and comes before its table becomes a hypertable.
        phase = Phase.CONSTRAINTS if one in checks else Phase.HYPERTABLES
        yield Unit(title, [added], calls=sql.calls(added) & set(functions), phase=phase)


def ordered(listed: Sequence[Unit]) -> list[Unit]:
    """Each unit after those that it mentions, as far as there is such an order."""
    mentioned = _mentioned(listed)
    found: list[Unit] = []
    seen: set[Unit] = set()

    def visit(unit: Unit) -> None:
        seen.add(unit)
        for other in sorted(mentioned[unit], key=lambda one: (one.phase, one.title)):
            if other not in seen:
                visit(other)
        found.append(unit)

    for unit in listed:
        if unit not in seen:
            visit(unit)
    return found


def _mentioned(listed: Sequence[Unit]) -> dict[Unit, set[Unit]]:
    functions: dict[str, list[Unit]] = {}
    relations: dict[Key | None, list[Unit]] = {}
    for unit in listed:
        functions.setdefault(unit.function, []).append(unit)
        relations.setdefault(unit.relation, []).append(unit)
    return {
        unit: {
            *(one for name in unit.calls for one in functions.get(name, ())),
            *(one for key in unit.reads for one in relations.get(key, ())),
        }
        - {unit}
        for unit in listed
    }


# --- create ----------------------------------------------------------------------------------


def create(connection: Connection, listed: Sequence[Unit], paths: Sequence[str]) -> None:
    """Create everything in one round trip; where that fails one by one, and what fails again.

    Args:
        paths: the search paths to try: the last one has everything that is needed, and may have
            live objects of the models' names, which must not stand in for those to be created.

    Raises:
        ModelError: the server refuses a declaration, or there is no order.
    """
    mentioned = _mentioned(listed)
    places = {unit: place for place, unit in enumerate(listed)}
    if all(places[other] < places[unit] for unit in listed for other in mentioned[unit]):
        attempt = connection.begin_nested()
        script = [f"SET LOCAL search_path = {paths[-1]}"]
        script += [statement for unit in listed for statement in unit.statements]
        try:
            sql.send(connection, "\n".join(map(sql.terminated, script)))
            attempt.commit()
            return
        except sa.exc.DBAPIError:
            attempt.rollback()
    waiting = [*listed]
    while waiting:
        for path, awaited in ((paths[0], {}), (paths[-1], mentioned), (paths[-1], {})):
            sql.send(connection, f"SET LOCAL search_path = {path}")
            left, refused = _tried(connection, waiting, awaited)
            if len(left) < len(waiting):
                break
        else:
            raise ModelError(_explained(refused) + _unqualified(connection, refused))
        waiting = left


_Refusal: TypeAlias = tuple[str, Any]
"""A statement, and the server's error."""


def _tried(
    connection: Connection, waiting: Sequence[Unit], awaited: Mapping[Unit, AbstractSet[Unit]]
) -> tuple[list[Unit], dict[Unit, _Refusal]]:
    """Those that are left: what awaits one that is left, and what the server refused, and why."""
    left: list[Unit] = []
    refused: dict[Unit, _Refusal] = {}
    for unit in waiting:
        if not awaited.get(unit, set()).isdisjoint(left):
            left.append(unit)
        elif (error := _refused(connection, unit)) is not None:
            left.append(unit)
            refused[unit] = error
    return left, refused


def _refused(connection: Connection, unit: Unit) -> _Refusal | None:
    attempt = connection.begin_nested()
    for statement in unit.statements:
        try:
            sql.send(connection, statement)
        except sa.exc.DBAPIError as error:
            attempt.rollback()
            return statement, error.orig
    attempt.commit()
    return None


def _explained(refused: Mapping[Unit, _Refusal]) -> str:
    """Why nothing of what is left can be created: they need each other, or something else."""
    path: list[Unit] = []
    unit: Unit | None = next(iter(refused))
    while unit is not None and unit not in path:
        path.append(unit)
        unit = _missing(unit, refused)
    if unit is None:
        statement, error = refused[path[-1]]
        return f"the server refuses a declaration: {refusal(error, statement)}"
    members = [*path[path.index(unit) :], unit]
    way_out = "write one of them without the other"
    if any(member.function for member in members):
        way_out = (
            'give the function a text body (body="SELECT …" instead of RETURN or BEGIN ATOMIC),'
            " which the server does not look into before it is called"
        )
    titles = " -> ".join(member.title for member in members)
    return f"no order of creation, they need each other: {titles}; {way_out}"


def _unqualified(connection: Connection, refused: Mapping[Unit, _Refusal]) -> str:
    """What to write where a type is missed that the database has, but no model declares."""
    for _, error in refused.values():
        name = sql.words(error.diag.message_primary or "") - {"type", "does", "not", "exist"}
        if isinstance(error, UndefinedObject) and len(name) == 1:
            named = f"{sql.DEFAULT_SCHEMA}.{sql.ident(*name)}"
            if connection.scalar(sa.text("SELECT to_regtype(:name)"), {"name": named}):
                return f"; the database has {named}, which no model declares: write its schema, too"
    return ""


def _missing(unit: Unit, refused: Mapping[Unit, _Refusal]) -> Unit | None:
    """The one of those refused that the server misses in ``unit``."""
    error = refused[unit][1]
    names = {
        part for word in sql.words(error.diag.message_primary or "") for part in word.split(".")
    }
    undefined = isinstance(error, UndefinedFunction | UndefinedTable | UndefinedObject)
    for other in refused if undefined else ():
        relation = other.relation[1] if other.relation is not None else ""
        name = other.function if isinstance(error, UndefinedFunction) else relation
        if other is not unit and name in names:
            return other
    return None
