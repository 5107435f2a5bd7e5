"""Databases that follow models: what must hold of each change, and the rows that prove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from ddl import Answers
from ddl.edition import COMMUNITY, detect
from ddl.sql import ident, send
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.evolving_models import TYPES, WIDER, Models, qualified
from tests.support.generated_revisions import (
    apply,
    assert_no_drift,
    metadata_of,
    migration,
    rendered,
    run,
)

Values = dict[tuple[str, ...], list[tuple[str, ...]]]
"""(table, column), or a time series, to its rows as text."""


@dataclass(frozen=True)
class Renames:
    """What is renamed: options as ``-x rename=`` takes them, tables and columns old to new."""

    options: Sequence[str] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class EvolvingDatabase:
    """One database with rows."""

    engine: Engine
    filled: int = 0
    aged: bool = False
    """True when the oldest raw data of the time series is gone, and its rollup has it still."""
    community: bool = field(init=False)

    def __post_init__(self) -> None:
        with self.engine.connect() as connection:
            self.community = detect(connection) == COMMUNITY

    def begin(self, models: Models) -> None:
        """The schemas, and the first models."""
        with self.engine.begin() as connection:
            send(connection, "CREATE SCHEMA IF NOT EXISTS store")
            apply(connection, metadata_of(models.declare))

    def revision(self, models: Models, renames: Renames) -> tuple[str, str]:
        """What autogenerate writes, up and down."""
        with self.engine.connect() as connection:
            answers = Answers(given=renames.options, carry_out=True)
            script = migration(connection, metadata_of(models.declare), answers)
        return rendered(script.upgrade_ops), rendered(script.downgrade_ops)

    def follow(self, old: Models, new: Models, renames: Renames, revision: tuple[str, str]) -> None:
        """Run a revision up, down and up.

        Every value that both models have must stay, nothing must be left to change, and the
        downgrade must bring back the catalog.
        """
        up, down = revision
        before, after = metadata_of(old.declare), metadata_of(new.declare)
        start, values = catalog_states(self.engine), self.values(old)
        run(self.engine, up)
        self._assert_kept(old, new, renames, values)
        assert_no_drift(self.engine, after)
        target = catalog_states(self.engine)
        run(self.engine, down)
        traces = unequal_states(catalog_states(self.engine), start)
        assert not traces, "the downgrade left a trace:\n" + "\n".join(traces)
        assert_no_drift(self.engine, before)
        run(self.engine, up)
        traces = unequal_states(catalog_states(self.engine), target)
        assert not traces, "the second upgrade differs:\n" + "\n".join(traces)
        self._assert_kept(old, new, renames, values)
        self._fill(new)

    def values(self, models: Models) -> Values:
        """Every value of the tables, the series and its rollup."""
        found: Values = {}
        with self.engine.connect() as connection:
            for name, table in models.tables.items():
                for key in ["id", *table.columns]:
                    query = f"SELECT id, {ident(key)} FROM {qualified(name, table)} ORDER BY 1"
                    found[name, key] = _select(connection, query)
            series = models.series
            if series is not None:
                query = "SELECT ts, device, v FROM store.readings ORDER BY 1, 2"
                found["series",] = _select(connection, query)
                for aggregate in series.aggregates if series.rollup else ():
                    key = aggregate.rpartition(" ")[2]
                    query = f"SELECT device, bucket, {key} FROM store.hourly ORDER BY 1, 2"
                    found["rollup", key, ""] = _select(connection, query)
        return found

    def _assert_kept(self, old: Models, new: Models, renames: Renames, values: Values) -> None:
        now = self.values(new)
        for place, rows in values.items():
            moved = place
            if len(place) == 2:
                name, key = place
                moved = (renames.tables.get(name, name), renames.columns.get((name, key), key))
                if not _is_same_column(old, new, place, moved):
                    continue
            if moved in now:
                assert now[moved] == rows, f"{' '.join(place)} lost rows or values"

    def _fill(self, models: Models) -> None:
        """Three more rows for each table; of the series chunks are stored by column, or dropped."""
        self.filled += 1
        series = models.series
        with self.engine.begin() as connection:
            for name, table in models.tables.items():
                names = ["id", *(ident(key) for key in table.columns)]
                values = [f"i + 10000 * {self.filled}"]
                values += [TYPES[column.type][1] for column in table.columns.values()]
                send(
                    connection,
                    f"INSERT INTO {qualified(name, table)} ({', '.join(names)})"
                    f" SELECT {', '.join(values)} FROM generate_series(1, 3) i",
                )
            if series is None:
                self.aged = False
                return
            send(
                connection,
                "INSERT INTO store.readings (ts, device, v)"
                " SELECT date_trunc('hour', now()) - i * interval '7 hours'"
                f"        - {self.filled} * interval '1 minute', 'd' || i % 2, i"
                f"   FROM generate_series(1, {12 if self.aged else 30}) i ON CONFLICT DO NOTHING",
            )
        if self.community:
            self._age(models)

    def _age(self, models: Models) -> None:
        """Refresh the rollup, compress, and sometimes drop raw data that it has summed up."""
        assert models.series is not None
        statements = []
        if models.series.rollup:
            # A refresh of what has no raw data any more would empty it.
            start = "now() - interval '4 days'" if self.aged else "NULL"
            statements.append(f"CALL refresh_continuous_aggregate('store.hourly', {start}, NULL)")
        if models.series.store is not None and self.filled % 2:
            chunks = "show_chunks('store.readings')"
            statements.append(f"SELECT compress_chunk(c, true) FROM {chunks} c LIMIT 3")
        if models.series.rollup and self.filled % 3 == 0:
            statements.append("SELECT drop_chunks('store.readings', interval '5 days')")
            self.aged = True
        autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        with autocommit.connect() as connection:
            for statement in statements:
                send(connection, statement)


def _is_same_column(
    old: Models, new: Models, place: tuple[str, ...], moved: tuple[str, ...]
) -> bool:
    """False for a column that was dropped and made again under the same name."""
    (name, key), (now, after) = place, moved
    if now not in new.tables or key == "id":
        return True
    if after not in new.tables[now].columns:
        return False
    types = old.tables[name].columns[key].type, new.tables[now].columns[after].type
    return types[0] == types[1] or types[1] in WIDER.get(types[0], ())


def _select(connection: sa.Connection, query: str) -> list[tuple[str, ...]]:
    found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return [tuple(map(_text, row)) for row in found]


def _text(value: Any) -> str:
    """Numbers of another scale are the same."""
    text = str(value)
    return text.rstrip("0").rstrip(".") if "." in text and text.replace(".", "").isdigit() else text
