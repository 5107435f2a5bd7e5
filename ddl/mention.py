"""The order in which declared functions, tables and views can be created.

It is read from the declarations, before any server has seen them; what a server made of them
is ordered by its own dependencies (``ddl.dependents``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Key
from ddl.kinds.function import FunctionState


def by_mention(states: Iterable[Any]) -> list[Any]:
    """Sort functions and views so that each comes after those that it needs to be created.

    Raises:
        sqlalchemy.exc.ArgumentError: two objects need each other.
    """
    listed = sorted(states, key=lambda state: (state.kind, state.key))
    schemas = {sql.DEFAULT_SCHEMA, *(state.schema for state in listed)}
    sorter: TopologicalSorter[Any] = TopologicalSorter()
    for state in listed:
        called, read = _called(state), _read(state, schemas)
        sorter.add(
            state,
            *(
                other
                for other in listed
                if other is not state
                and other.name in (called if isinstance(other, FunctionState) else read)
            ),
        )
    try:
        return list(sorter.static_order())
    except CycleError as error:
        titles = " -> ".join(state.title() for state in error.args[1])
        raise ArgumentError(
            f"no order of creation, they need each other: {titles}; where a name only looks "
            f"like one of these, write it with its table before it (t.name) or rename it"
        ) from error


def late_functions(
    functions: Collection[FunctionState], relations: Collection[Key], table_ddl: str
) -> set[str]:
    """Names of the functions that can only be created after the tables.

    These read a table or view, or call a function that does, in a body that the server parses
    when it creates them; a text body is not looked into, but for types of variables. What the
    definition of a table calls comes first whatever it seems to mention.
    """
    schemas = {sql.DEFAULT_SCHEMA, *(schema for schema, _ in relations)}
    names = {name for _, name in relations}
    by_name = {state.name: state for state in functions}
    calls = {name: _called(state) & by_name.keys() for name, state in by_name.items()}
    late = {name for name, state in by_name.items() if not names.isdisjoint(_read(state, schemas))}
    while more := {name for name in by_name.keys() - late if calls[name] & late}:
        late |= more
    early = sql.calls(table_ddl) & by_name.keys()
    while more := {name for caller in early for name in calls[caller]} - early:
        early |= more
    return late - early


def _called(state: Any) -> set[str]:
    """Functions that must exist when ``state`` is created."""
    if not isinstance(state, FunctionState):
        return sql.calls(state.text())
    return sql.calls(f"{state.arguments} {state.body if state.standard_body else ''}")


def _read(state: Any, schemas: Collection[str]) -> set[str]:
    """Tables and views that must exist when ``state`` is created, among other names."""
    if not isinstance(state, FunctionState):
        return {name for _, name in sql.relations(state.text(), schemas)}
    types = sql.words(f"{state.arguments} {state.returns}")
    if state.standard_body:
        return types | {name for _, name in sql.relations(state.body, schemas)}
    variables = re.split(r"\bbegin\b", state.body, maxsplit=1, flags=re.I)[0]
    return types | (sql.words(variables) if state.language == "plpgsql" else set())
