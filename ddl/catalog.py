"""The whole catalog of some schemas as dictionaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from ddl import sql
from ddl.base import Identity, Key, S, State
from ddl.kinds import KINDS
from ddl.time_series import PENDING

_RELATIONS = [kind for kind in KINDS if kind.relation]


class Catalog:
    """States by kind and key."""

    def __init__(self, states: Iterable[State]) -> None:
        self._states: dict[str, dict[Key, State]] = {}
        for state in states:
            self._states.setdefault(state.kind, {})[state.key] = state

    def of(self, state_type: type[S]) -> Mapping[Key, S]:
        """The states of a kind by key."""
        return cast("dict[Key, S]", self._states.get(state_type.kind, {}))

    def states(self) -> Iterator[State]:
        """All states, kind by kind."""
        for kind in self._states.values():
            yield from kind.values()

    def kinds(self) -> list[str]:
        """The kinds that have any object, sorted."""
        return sorted(kind for kind, states in self._states.items() if states)

    def get(self, identity: Identity) -> State | None:
        """The state of an object, or None."""
        return self._states.get(identity[0], {}).get(identity[1])

    def identity(self, kind: str, key: Key) -> Identity:
        """What is a view for PostgreSQL may be of another kind here, by the same key."""
        if kind == "view" and self.get((kind, key)) is None:
            for other in _RELATIONS:
                if self.get((other.name, key)) is not None:
                    return (other.name, key)
        return (kind, key)

    def without(self, excluded: Callable[[State], bool]) -> Catalog:
        """A copy without the objects for which ``excluded`` is true, and what belongs to them."""
        left = Catalog(state for state in self.states() if not excluded(state))
        return left.without_tables(lambda _: False)

    def without_tables(self, excluded: Callable[[Key], bool]) -> Catalog:
        """A copy without the tables for which ``excluded`` is true, and what belongs to them."""
        relations = {
            state.relation
            for kind in _RELATIONS
            for key, state in self.of(kind.state).items()
            if not (kind.name == "table" and excluded(key))
            and not (state.part_of is not None and excluded(state.part_of[1][:2]))
        }
        return Catalog(
            state
            for state in self.states()
            if state.relation is None or state.relation in relations
        )


def read(connection: Connection, schemas: Sequence[str]) -> Catalog:
    """Read ``schemas`` with one query per kind, in the server's own spelling.

    The caller sets ``search_path`` to pg_catalog, so that every name comes out qualified. Tables
    of extensions, partitions and foreign tables are left out, and so is what belongs to them.
    Where two kinds read the same relation (a continuous aggregate is a view, too), the later one
    in the registry has it. The table of pending operations is not compared.
    """
    relations: dict[Key, State] = {}
    others: list[State] = []
    for kind in KINDS:
        if kind.in_schema:
            for state in kind.read(connection, schemas):
                if kind.relation and state.relation is not None:
                    relations[state.relation] = state
                else:
                    others.append(state)
    return Catalog([*relations.values(), *others]).without_tables(lambda key: key[1] == PENDING)


def read_global(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """What belongs to the database as a whole, and not to one of ``schemas``."""
    kinds = [kind for kind in KINDS if not kind.in_schema]
    return [state for kind in kinds for state in kind.read(connection, schemas)]


T = TypeVar("T", bound=State)


def renamed(state: T, names: Mapping[str, str], texts: Mapping[str, str]) -> T:
    """``state`` with every schema of ``names`` called by its other name, see :func:`rename`."""
    return dataclasses.replace(
        state,
        **{
            field.name: rename(getattr(state, field.name), names, texts)
            for field in dataclasses.fields(state)
        },
    )


def rename(value: Any, names: Mapping[str, str], texts: Mapping[str, str] | None = None) -> Any:
    """``value``, a name or SQL or tuples of those, with every schema of ``names`` renamed.

    ``texts`` are replaced before, by what is not quoted any more.
    """
    if type(value) is tuple:
        return tuple(rename(item, names, texts) for item in value)
    if not isinstance(value, str) or value in names:
        return names.get(value, value)
    for text, spelling in (texts or {}).items():
        value = value.replace(text, spelling)
    for old, new in names.items():
        if old in value:
            # As the text of a regclass: nextval('_shadow_1_0_.items_id_seq').
            value = value.replace(f"'{old}.", sql.literal(f"{sql.ident(new)}.")[:-1])
            value = value.replace(f"{old}.", f"{sql.ident(new)}.").replace(old, new)
    return value
