"""The part of a database's catalog that is compared with the models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlalchemy import Connection, MetaData

from ddl import shadow
from ddl.base import Key, State
from ddl.catalog import Catalog
from ddl.kinds.grant import GrantState
from ddl.kinds.unmanaged import UnmanagedState, accepted
from ddl.shadow import Comparison


def comparison(
    connection: Connection,
    metadata: MetaData,
    edition: str,
    excluded: Callable[[Key], bool],
    examine: shadow.Examine | None = None,
) -> Comparison:
    """Both sides, without what is not compared.

    Args:
        excluded: true for the key of a table that is not.
        examine: see :func:`ddl.shadow.compare`.

    Raises:
        ddl.creation.ModelError: the server refuses a declaration.
    """
    found = shadow.compare(connection, metadata, edition, examine)
    current = compared(metadata, found.target, found.current, excluded)
    return dataclasses.replace(found, current=current)


def compared(
    metadata: MetaData, target: Catalog, current: Catalog, excluded: Callable[[Key], bool]
) -> Catalog:
    """``current`` without excluded tables, and without what the models leave to other tools."""
    current = _without_lost_grants(target, current.without_tables(excluded))
    return current.without(lambda state: accepted(metadata, state))


def _without_lost_grants(target: Catalog, current: Catalog) -> Catalog:
    """``current`` as if what has a wrong owner had the grants of ``target`` beside its own.

    A grant to the owner is no grant, so that one to the wrong owner would seem to be missing, and
    no revision could bring it back. What else is granted there is told all the same.
    """
    owned = {
        state.relation or (state.schema, f"schema {state.schema}")
        for state in current.of(UnmanagedState).values()
        if state.detail == "owner"
    }
    if not owned:
        return current

    def lost(state: State) -> bool:
        return isinstance(state, GrantState) and (state.relation or state.key) in owned

    grants = current.of(GrantState)
    declared = [state for state in target.of(GrantState).values() if lost(state)]
    both = [
        dataclasses.replace(state, privileges=state.privileges | grants[state.key].privileges)
        if state.key in grants
        else state
        for state in declared
    ]
    # Of two states with one key the later counts.
    return Catalog([*current.states(), *both])
