"""A foreign key added by an owner from whom forced row-level security hides rows.

The owner is no superuser. Whichever of the two tables hides its rows from it: orphans must be
found, and rows that have their parent must pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import TIMESTAMP, Column, Engine, ForeignKey, Integer, MetaData, Table, text
from sqlalchemy.exc import IntegrityError

from ddl import Columnstore, Grant, Hypertable, Policy, RowLevelSecurity, schema_grant
from ddl.edition import COMMUNITY, detect
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.generated_revisions import (
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
    run_offline,
)

VALID = ["INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1, 1), (4, NULL)"]
ORPHANS = [*VALID, "INSERT INTO child VALUES (2, 2), (3, 3)"]


def models(
    foreign_key: bool,
    hidden: str = "parent child",
    parent: bool = True,
    validate_as: str | None = "r_read",
) -> Callable[[MetaData], None]:
    """Two tables; those named in ``hidden`` have forced row-level security and a policy for r_read."""

    def guard(table: str) -> list[Any]:
        if table not in hidden:
            return []
        return [
            RowLevelSecurity(),
            Policy("read", to="r_read", command="select", using="true"),
            Grant("select", to="r_read"),
        ]

    def declare(metadata: MetaData) -> None:
        metadata.info["validate_as"] = validate_as
        if parent:
            Table(
                "parent",
                metadata,
                Column("id", Integer, primary_key=True, autoincrement=False),
                *guard("parent"),
            )
        Table(
            "child",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("parent_id", Integer, *([ForeignKey("parent.id")] if foreign_key else [])),
            *guard("child"),
        )
        schema_grant("usage", on="public", to="r_read", metadata=metadata)

    return declare


def prepare(
    engine: Engine, owned: Engine, rows: list[str], before: Any, after: Any
) -> tuple[str, str]:
    """Build ``before``, fill it as a superuser, and return both directions of the change."""
    with owned.begin() as connection:
        apply(connection, metadata_of(before))
    with engine.begin() as connection:
        for row in rows:
            connection.execute(text(row))
    with owned.connect() as connection:
        script = migration(connection, metadata_of(after))
    return rendered(script.upgrade_ops), rendered(script.downgrade_ops)


HIDDEN = ["parent child", "parent", "child", "neither"]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_orphans_are_found(engine: Engine, owned: Engine, hidden: str) -> None:
    up, _ = prepare(engine, owned, ORPHANS, models(False, hidden), models(True, hidden))
    start = catalog_states(engine)
    counted = r"child\.child_parent_id_fkey: expected no orphans, found 2 row\(s\) without a parent"
    with pytest.raises(IntegrityError, match=counted) as refused:
        run(owned, up)
    reader = "r_owner" if hidden == "neither" else "r_read"
    told, query = str(refused.value.orig.diag.message_hint).split(f" are, for {reader}: ")  # type: ignore[union-attr]
    assert told == "Give them a parent or delete them, then run the upgrade again. They"
    with engine.connect() as connection:
        assert [row.id for row in connection.execute(text(query))] == [2, 3]
    assert not unequal_states(catalog_states(engine), start)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_rows_with_their_parent_pass(engine: Engine, owned: Engine, hidden: str) -> None:
    after = models(True, hidden)
    up, down = prepare(engine, owned, VALID, models(False, hidden), after)
    assert up == (
        "op.add_constraint(\n"
        '    "child", "child_parent_id_fkey", "FOREIGN KEY(parent_id) REFERENCES parent (id)",'
        ' validate_as="r_read",\n'
        ")"
    )
    start = catalog_states(engine)
    run(owned, up)
    assert_clean(owned, metadata_of(after))
    done = catalog_states(engine)
    run(owned, down)
    assert not unequal_states(catalog_states(engine), start)
    run_offline(owned, up)
    assert not unequal_states(catalog_states(engine), done)


def test_parent_made_in_the_same_revision(engine: Engine, owned: Engine) -> None:
    """The role that counts needs the grant and the policy of the new table."""
    after = models(True)
    rows = ["INSERT INTO child VALUES (4, NULL)"]
    up, down = prepare(engine, owned, rows, models(False, parent=False), after)
    run(owned, up)
    assert_clean(owned, metadata_of(after))
    run(owned, down)


def test_without_it_the_server_sees_no_orphan(engine: Engine, owned: Engine) -> None:
    """Why ``validate_as`` exists: this validates a foreign key over two orphans."""
    before, after = models(False, validate_as=None), models(True, validate_as=None)
    up, _ = prepare(engine, owned, ORPHANS, before, after)
    run(owned, up)
    assert_clean(owned, metadata_of(after))


# --- a hypertable with a columnstore, whose constraints TimescaleDB validates in no second step ---


def stored(foreign_key: bool, hidden: bool) -> Callable[[MetaData], None]:
    def declare(metadata: MetaData) -> None:
        models(False, "parent" if hidden else "")(metadata)
        metadata.remove(metadata.tables["child"])
        keys = [ForeignKey("parent.id")] if foreign_key else []
        Table(
            "child",
            metadata,
            Column("ts", TIMESTAMP(timezone=True), primary_key=True),
            Column("parent_id", Integer, *keys),
            Hypertable("ts", chunk_interval="7 days"),
            Columnstore("parent_id", "ts DESC", after=None),
        )

    return declare


COMPRESSED = "SELECT compress_chunk(c) FROM show_chunks('child') c"


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("orphans", [True, False])
def test_columnstore(
    every_edition: Engine, every_owned: Engine, hidden: bool, orphans: bool
) -> None:
    after = stored(True, hidden)
    rows = ["INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (now(), 1)"]
    rows += ["INSERT INTO child VALUES (now() - interval '1 year', 2)"] * orphans
    with every_edition.connect() as connection:
        rows += [COMPRESSED] * (detect(connection) == COMMUNITY)
    up, down = prepare(every_edition, every_owned, rows, stored(False, hidden), after)
    if orphans:
        with pytest.raises(IntegrityError, match=r"child\..*expected no orphans, found 1 row"):
            run(every_owned, up)
        return
    start = catalog_states(every_edition)
    run(every_owned, up)
    assert_clean(every_owned, metadata_of(after))
    with pytest.raises(IntegrityError), every_edition.begin() as connection:
        connection.execute(text("INSERT INTO child VALUES (now(), 7)"))
    run(every_owned, down)
    assert not unequal_states(catalog_states(every_edition), start)
    run_offline(every_owned, up)
    assert_clean(every_owned, metadata_of(after))
