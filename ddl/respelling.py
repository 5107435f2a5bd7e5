"""Both sides of the comparison brought to the same generation of spelling.

PostgreSQL's spelling of an expression is no fixed point: parsed again, ``a BETWEEN 1 AND 5 AND b``,
read back as ``(((a >= 1) AND (a <= 5)) AND b)``, becomes ``((a >= 1) AND (a <= 5) AND b)``. A dump
and a restore parse again, and so does a downgrade. What differs is therefore parsed again on both
sides, over the models' tables, until two spellings meet or neither changes any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import buckets, sql
from ddl.catalog import Catalog, read, rename
from ddl.in_shadow import InShadow
from ddl.kind import Kind
from ddl.kinds import KINDS

GENERATIONS = 5
"""More than any expression is known to need; what has not met by then differs."""


@dataclass
class _Spelled:
    """An object of one side in its newest spelling, with every spelling it had, field by field."""

    kind: Kind[Any]
    state: Any
    seen: dict[str, set[Any]] = field(default_factory=dict)
    changes: bool = True
    """False once it is spelled as before, or cannot be parsed over the models' tables."""

    def __post_init__(self) -> None:
        self.take(self.state)

    def take(self, state: Any) -> None:
        """The state in its next spelling."""
        self.state, before = state, sum(map(len, self.seen.values()))
        for name in self.kind.expressions:
            self.seen.setdefault(name, set()).add(getattr(state, name))
        self.changes = sum(map(len, self.seen.values())) > before


@dataclass
class _Pair:
    """An object of both sides, and the expressions in which they differ."""

    target: _Spelled
    current: _Spelled
    differing: list[str]

    def equal(self) -> list[str]:
        """The fields of which two spellings have met."""
        return [name for name in self.differing if self.target.seen[name] & self.current.seen[name]]

    def is_open(self) -> bool:
        """True while another spelling may bring both together."""
        moving = self.target.changes or self.current.changes
        return moving and len(self.equal()) < len(self.differing)


def respelled(
    connection: Connection,
    target: Catalog,
    current: Catalog,
    shadows: Mapping[str, str],
    in_shadow: InShadow,
    edition: str,
) -> Catalog:
    """``target`` in the spelling of ``current`` where both mean the same.

    Where no expression differs it sends nothing. What it creates, the caller rolls back.

    Args:
        shadows: for each schema the one that has the models' objects.
        in_shadow: rewrites SQL so that it means those objects.
    """
    pairs = list(_pairs(target, current))
    for generation in range(GENERATIONS):
        pending = [pair for pair in pairs if pair.is_open()]
        if not pending:
            break
        for side in ("target", "current"):
            suffix = f"{side}_{generation}_"
            changing = [one for pair in pending if (one := getattr(pair, side)).changes]
            _parse_again(connection, changing, shadows, suffix, in_shadow, edition)
    if not pairs:
        return target
    states = {(state.kind, state.key): state for state in target.states()}
    for pair in pairs:
        identity = (pair.target.kind.name, pair.target.state.key)
        now = current.get(identity)
        states[identity] = replace(
            states[identity], **{name: getattr(now, name) for name in pair.equal()}
        )
    return Catalog(states.values())


def _pairs(target: Catalog, current: Catalog) -> Iterator[_Pair]:
    for kind in KINDS:
        targets = target.of(kind.state)
        for key, now in current.of(kind.state).items():
            wanted = targets.get(key)
            if wanted is not None and wanted != now:
                both = [(one, getattr(wanted, one), getattr(now, one)) for one in kind.expressions]
                differing = [one for one, a, b in both if a != b and a is not None is not b]
                if differing:
                    yield _Pair(_Spelled(kind, wanted), _Spelled(kind, now), differing)


def _parse_again(
    connection: Connection,
    sides: Sequence[_Spelled],
    shadows: Mapping[str, str],
    suffix: str,
    in_shadow: InShadow,
    edition: str,
) -> None:
    """Create each object once more, and take what the server makes of it.

    Parts of relations are created in a schema of their own, over a copy of the relation's columns:
    beside them the relation itself, where it is parsed again, would have the same name.
    """
    if not sides:
        return
    copies = [
        shadows[side.state.schema].replace("shadow", "parts" if _is_part(side.state) else "again")
        + suffix
        for side in sides
    ]
    schemas = sorted(set(copies))
    _send(connection, [f"CREATE SCHEMA {schema};" for schema in schemas])
    copied = [
        replace(side.state, schema=schema) for side, schema in zip(sides, copies, strict=True)
    ]
    scripts = [
        in_shadow(_script(side.kind, copy, shadows[side.state.schema], edition))
        for side, copy in zip(sides, copied, strict=True)
    ]
    # Definitions in the words of models name the functions of time series without their schema.
    path = connection.scalar(_TIME_SERIES_PATH)
    connection.execute(sa.text(f"SET LOCAL search_path = {path}"))
    _send(connection, [script for script in scripts if script])
    connection.execute(sa.text("SET LOCAL search_path = pg_catalog"))
    made = read(connection, schemas)
    back = {copy: side.state.schema for side, copy in zip(sides, copies, strict=True)}
    back |= {shadow: schema for schema, shadow in shadows.items()}
    for side, copy in zip(sides, copied, strict=True):
        found = made.get((side.kind.name, copy.key)) or made.get(("view", copy.key))
        expressions = side.kind.expressions if found is not None else ()
        spelled = {
            name: rename(getattr(found, name), back, in_shadow.texts) for name in expressions
        }
        if side.kind.neutral is not None and found is not None:
            neutral = side.kind.neutral
            spelled = {name: neutral(connection, text) for name, text in spelled.items()}
        side.take(replace(side.state, **spelled))


def _is_part(state: Any) -> bool:
    """True for a constraint, an index, a column and whatever else is made over a relation."""
    return hasattr(state, "table")


_TIME_SERIES_PATH = sa.text(f"""
SELECT concat_ws(', ', 'pg_catalog', (SELECT quote_ident(n.nspname) FROM pg_extension e
                                       JOIN pg_namespace n ON n.oid = e.extnamespace
                                      WHERE e.extname = 'timescaledb'), '{buckets.SCHEMA}')
""")


def _script(kind: Kind[Any], copy: Any, shadow: str, edition: str) -> str:
    """The SQL that parses the object again, over a copy of its table.

    That is a plain table, since a hypertable with a columnstore takes no constraint.
    """
    if kind.copy is not None:
        statements = kind.copy(copy, shadow)
    else:
        assert kind.operation is not None
        statements = kind.operation(None, copy).statements(edition)
    if statements and _is_part(copy):
        table = sql.ident(copy.table)
        like = f"CREATE TABLE IF NOT EXISTS {copy.schema}.{table} (LIKE {shadow}.{table})"
        statements.insert(0, like)
    return "\n".join(map(sql.terminated, statements))


def _send(connection: Connection, scripts: Sequence[str]) -> None:
    """All at once; only where that fails one by one, without those that the server refuses.

    A definition that cannot be parsed over the models' tables is none of theirs.
    """
    attempt = connection.begin_nested()
    try:
        sql.send(connection, "\n".join(scripts))
        attempt.commit()
        return
    except sa.exc.DBAPIError:
        attempt.rollback()
    for script in scripts:
        attempt = connection.begin_nested()
        try:
            sql.send(connection, script)
            attempt.commit()
        except sa.exc.DBAPIError:
            attempt.rollback()
