"""Random sequences of changes over tables with rows, on two editions side by side.

After each change: the upgrade is the same on both editions, the revision of either runs on both,
keeps every row and value that the change does not drop by name, leaves nothing to change, and its
downgrade brings back the catalog.
``make evolution`` draws many more sequences than the suite does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
)

from ddl.sql import ident
from tests.support.databases import MakeDatabase, with_buckets
from tests.support.evolving_databases import EvolvingDatabase, Renames
from tests.support.evolving_models import (
    NAMES,
    TABLES,
    TYPES,
    WIDER,
    ColumnModel,
    Models,
    SeriesModel,
    TableModel,
)
from tests.support.sequences import run_sequences
from tests.support.servers import DatabaseServer

SERIES: dict[str, list[Any]] = {
    "chunk": ["1 day", "6 hours"],
    "store": [None, "device"],
    "age": ["30 days", "40 days"],
    "keep": [None, "800 days", "900 days"],
    "extra": [True, False],
    "aggregates": [
        ("avg(v) AS mean",),
        ("avg(v) AS mean", "max(v) AS most"),
        ("avg(v) AS mean", "count(*) AS number"),
    ],
    "refresh": [None, "30 minutes", "1 hour"],
    "rollup_store": [True, False],
    "rollup_keep": [None, "900 days"],
    "only": [True, False],
    "comment": [None, "By :hour, it's 5%"],
    "rollup": [True, False],
}
"""What changes of a time series, and to what."""


class Evolution(RuleBasedStateMachine):
    """Models and the databases that follow them."""

    databases: ClassVar[list[EvolvingDatabase]] = []
    make: ClassVar[Callable[[], list[EvolvingDatabase]]]

    def __init__(self) -> None:
        super().__init__()
        self.models = Models()
        self.broken = False
        self.steps = 0
        for database in self.databases:
            database.begin(self.models)

    def teardown(self) -> None:
        """Back to nothing, which is a change, too; after a failure, new databases."""
        try:
            if not self.broken:
                self._follow(Models())
        finally:
            if self.broken:
                type(self).databases = type(self).make()

    # --- tables ---

    def _tables(self, when: Callable[[TableModel], bool] = lambda _: True) -> list[str]:
        return sorted(name for name, table in self.models.tables.items() if when(table))

    @rule(data=st.data())
    def create_table(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(TABLES))
        if name in self.models.tables:
            return
        parents = [None, *self._tables()]
        table = TableModel(
            columns=data.draw(
                st.dictionaries(st.sampled_from(NAMES), columns(), max_size=3), label="columns"
            ),
            schema=data.draw(st.sampled_from([None, "store"])),
            parent=data.draw(st.sampled_from(parents)),
            secured=data.draw(st.booleans()),
            stamped=data.draw(st.booleans()),
        )
        self._follow(self.models.with_table(name, table))

    @precondition(lambda self: self.models.tables)
    @rule(data=st.data())
    def drop_table(self, data: st.DataObject) -> None:
        self._follow(self.models.with_table(data.draw(st.sampled_from(self._tables())), None))

    @precondition(lambda self: self.models.tables)
    @rule(data=st.data())
    def rename_table(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._tables()))
        free = [one for one in TABLES if one not in self.models.tables]
        if not free:
            return
        new, table = data.draw(st.sampled_from(free)), self.models.tables[name]
        models = self.models.with_table(name, None).with_table(new, table)
        for child in self._tables(lambda one: one.parent == name):
            followed = new if child == name else child
            models = models.with_table(followed, replace(models.tables[followed], parent=new))
        prefix = f"{table.schema}." if table.schema else ""
        option = f"{prefix}{ident(name)}:{prefix}{ident(new)}"
        self._follow(models, [option], renamed={name: new})

    @precondition(lambda self: self.models.tables)
    @rule(
        data=st.data(),
        what=st.sampled_from(["comment", "secured", "policy", "grants", "stamped", "options"]),
    )
    def change_table(self, data: st.DataObject, what: str) -> None:
        name = data.draw(st.sampled_from(self._tables()))
        table = self.models.tables[name]
        values: dict[str, list[Any]] = {
            "comment": [None, "It's :x 50%", "See Public.t\n\tand more"],
            "secured": [True, False],
            "policy": ["id > 0", "id BETWEEN 1 AND 5", "id IN (1, 2) OR seen IS NULL"],
            "grants": ["select", "select, insert", "select (id), update (seen)"],
            "stamped": [True, False],
            "options": [True, False],
        }
        value = data.draw(st.sampled_from(values[what]))
        self._follow(self.models.with_table(name, replace(table, **{what: value})))

    # --- columns ---

    @precondition(lambda self: self.models.tables)
    @rule(data=st.data())
    def add_column(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self._tables()))
        table = self.models.tables[name]
        key, column = data.draw(st.sampled_from(NAMES)), data.draw(columns())
        if key not in table.columns:
            self._with_columns(name, {**table.columns, key: column})

    @precondition(lambda self: self._tables(lambda one: bool(one.columns)))
    @rule(data=st.data())
    def drop_column(self, data: st.DataObject) -> None:
        name, key = self._column(data)
        self._with_columns(name, without(self.models.tables[name].columns, key), key)

    @precondition(lambda self: self._tables(lambda one: bool(one.columns)))
    @rule(data=st.data())
    def rename_column(self, data: st.DataObject) -> None:
        name, key = self._column(data)
        table, new = self.models.tables[name], data.draw(st.sampled_from(NAMES))
        if new in table.columns:
            return
        swap = {key: new}
        sets = {
            what: frozenset(swap.get(one, one) for one in getattr(table, what))
            for what in ("checked", "indexed", "unique", "view", "kept")
            if getattr(table, what) is not None
        }
        cols = {swap.get(one, one): column for one, column in table.columns.items()}
        prefix = f"{table.schema}." if table.schema else ""
        path = f"{prefix}{ident(name)}."
        self._follow(
            self.models.with_table(name, replace(table, columns=cols, **sets)),
            [f"{path}{ident(key)}:{path}{ident(new)}"],
            renamed_columns={(name, key): new},
        )

    @precondition(lambda self: self._tables(lambda one: bool(one.columns)))
    @rule(data=st.data(), what=st.sampled_from(["type", "nullable", "default", "comment"]))
    def change_column(self, data: st.DataObject, what: str) -> None:
        name, key = self._column(data)
        table = self.models.tables[name]
        column = table.columns[key]
        if what == "type":
            wider = WIDER.get(column.type)
            if not wider:
                return
            column = replace(column, type=data.draw(st.sampled_from(wider)))
        elif what == "comment":
            column = replace(column, comment=data.draw(st.sampled_from([None, "a ':b' 5%"])))
        elif what == "nullable":
            # Its values are never NULL, but rows from before it was added may be.
            if column.nullable and not column.default:
                return
            column = replace(column, nullable=not column.nullable, default=True)
        else:
            column = replace(column, default=not column.default or not column.nullable)
        self._follow(
            self.models.with_table(name, replace(table, columns={**table.columns, key: column}))
        )

    @precondition(lambda self: self._tables(lambda one: bool(one.columns)))
    @rule(
        data=st.data(),
        what=st.sampled_from(["checked", "indexed", "unique", "view", "kept"]),
        on=st.booleans(),
    )
    def toggle_on_column(self, data: st.DataObject, what: str, on: bool) -> None:
        name, key = self._column(data)
        table = self.models.tables[name]
        if what in ("indexed", "unique") and table.columns[key].type == "json":
            return
        found: frozenset[str] | None = getattr(table, what) or frozenset()
        found = (found or frozenset()) | {key} if on else (found or frozenset()) - {key}
        if what in ("view", "kept") and not found:
            found = None
        self._follow(self.models.with_table(name, replace(table, **{what: found})))

    def _column(self, data: st.DataObject) -> tuple[str, str]:
        name = data.draw(st.sampled_from(self._tables(lambda one: bool(one.columns))))
        return name, data.draw(st.sampled_from(sorted(self.models.tables[name].columns)))

    def _with_columns(
        self, name: str, cols: dict[str, ColumnModel], gone: str | None = None
    ) -> None:
        table = self.models.tables[name]
        sets = {
            what: getattr(table, what) - {gone}
            or (None if what in ("view", "kept") else frozenset())
            for what in ("checked", "indexed", "unique", "view", "kept")
            if getattr(table, what) is not None
        }
        self._follow(self.models.with_table(name, replace(table, columns=cols, **sets)))

    # --- functions, sequences, time series ---

    @rule(
        body=st.sampled_from(
            ["new.seen := 1", "new.seen := 2 /* 50% :x */", "new.seen := new.seen"]
        )
    )
    def change_function(self, body: str) -> None:
        self._follow(replace(self.models, body=body))

    @rule(increment=st.sampled_from([None, 1, 5]))
    def change_sequence(self, increment: int | None) -> None:
        self._follow(replace(self.models, sequence=increment))

    @rule()
    def create_series(self) -> None:
        if self.models.series is None:
            self._follow(replace(self.models, series=SeriesModel()))

    @precondition(lambda self: self.models.series is not None)
    @rule(data=st.data(), what=st.sampled_from(sorted(SERIES)))
    def change_series(self, data: st.DataObject, what: str) -> None:
        assert self.models.series is not None
        value = data.draw(st.sampled_from(SERIES[what]))
        self._follow(replace(self.models, series=replace(self.models.series, **{what: value})))

    @precondition(lambda self: self.models.series is not None)
    @rule()
    def drop_series(self) -> None:
        self._follow(replace(self.models, series=None))

    def _follow(
        self,
        models: Models,
        options: Sequence[str] = (),
        *,
        renamed: Mapping[str, str] = MappingProxyType({}),
        renamed_columns: Mapping[tuple[str, str], str] = MappingProxyType({}),
    ) -> None:
        """Take the databases to ``models``; names that changed are old to new."""
        self.broken = True
        renames = Renames(options, renamed, renamed_columns)
        revisions = [database.revision(models, renames) for database in self.databases]
        for revision in revisions:
            note("\n--\n".join(revision))
        # Of what is read back, servers of another version spell views another way.
        assert len({up for up, _ in revisions}) == 1, "the editions write different upgrades"
        self.steps += 1
        revision = revisions[self.steps % len(revisions)]
        for database in self.databases:
            database.follow(self.models, models, renames, revision)
        self.models, self.broken = models, False


def without(found: dict[str, ColumnModel], key: str) -> dict[str, ColumnModel]:
    return {name: column for name, column in found.items() if name != key}


def columns() -> st.SearchStrategy[ColumnModel]:
    """A column that can be added to a table with rows, and taken away again."""
    return st.builds(
        lambda type_, default, nullable, comment: ColumnModel(
            type_, nullable or not default, default, comment
        ),
        st.sampled_from(sorted(TYPES)),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, "a ':b' 5%"]),
    )


@pytest.fixture
def databases(
    request: pytest.FixtureRequest, make_database: MakeDatabase, embedded_server: DatabaseServer
) -> Callable[[], list[EvolvingDatabase]]:
    """Makes an empty database of plain PostgreSQL and, where there is one, of Community."""
    servers = [embedded_server]
    with contextlib.suppress(pytest.skip.Exception):
        servers.append(request.getfixturevalue("timescaledb_server"))

    def make() -> list[EvolvingDatabase]:
        urls = [make_database(server, like=with_buckets) for server in servers]
        return [EvolvingDatabase(sa.create_engine(url)) for url in urls]

    return make


@pytest.mark.slow
def test_any_sequence_of_changes(databases: Callable[[], list[EvolvingDatabase]]) -> None:
    class Evolving(Evolution):
        make = staticmethod(databases)

    Evolving.databases = databases()
    run_sequences(Evolving, "EVOLUTION", sequences=4, steps=5)
