"""What declared objects mention of each other, as far as their text tells.

The server has not seen them yet; what it made of them is ordered by its own dependencies
(``ddl.dependents``).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from ddl import sql
from ddl.base import Key
from ddl.kinds.function import FunctionState


def late_functions(
    functions: Collection[FunctionState], relations: Collection[Key], table_ddl: str
) -> set[str]:
    """Names of the functions that can only be created after the tables.

    These read a table or view, or call a function that does, in a body that the server parses
    when it creates them; a text body is not looked into, but for types of variables. What the
    definition of a table calls comes first whatever it seems to mention.
    """
    calls: dict[str, set[str]] = {state.name: set() for state in functions}
    for state in functions:
        calls[state.name] |= called(state) & calls.keys()
    late = {state.name for state in functions if read(state, relations)}
    while more := {name for name in calls.keys() - late if calls[name] & late}:
        late |= more
    early = sql.calls(table_ddl) & calls.keys()
    while more := {name for caller in early for name in calls[caller]} - early:
        early |= more
    return late - early


def called(state: Any) -> frozenset[str]:
    """Functions that must exist when ``state`` is created."""
    if not isinstance(state, FunctionState):
        return sql.calls(state.text())
    return sql.calls(f"{state.arguments} {state.body if state.standard_body else ''}")


def read(state: Any, relations: Collection[Key]) -> set[Key]:
    """Those of ``relations`` that must exist when ``state`` is created."""
    schemas = {schema for schema, _ in relations}
    if not isinstance(state, FunctionState):
        return {*relations} & sql.relations(state.text(), schemas)
    words = sql.words(f"{state.arguments} {state.returns}")
    if state.language == "plpgsql":
        words |= sql.words(re.split(r"\bbegin\b", state.body, maxsplit=1, flags=re.I)[0])
    body = sql.relations(state.body, schemas) if state.standard_body else set()
    return {key for key in relations if key[1] in words or key in body}
