"""Columns with values of a JSON column are dropped without one of them, whichever way they go."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from psycopg.errors import InsufficientPrivilege, LockNotAvailable
from sqlalchemy import BigInteger, Column, Double, Engine, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from ddl import Answers, Columnstore, Hypertable, RenamedFrom, RowLevelSecurity, likely_renames
from ddl.compare import found_by
from ddl.edition import COMMUNITY, detect
from ddl.effects import Effects, warn
from ddl.json_values import comment_of, json_of
from ddl.risk import Risk
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_no_drift,
    metadata_of,
    migration,
    rendered,
    run,
    run_offline,
)

COLUMNS: dict[str, Any] = {
    "speed": Double(),
    "or%der": Text(),
    "n'o": BigInteger(),
    "chunk": Text(),
}
SENT = [
    {"speed": 0.1, "or%der": "a\\b", "n'o": 2**62, "chunk": "c", "x": 1},
    {"speed": 1e-300, "y": None},
    {"or%der": ""},
    {"x": {"speed": 2}},
    {"speed": "fast"},
]
DAYS = 12
NOW = datetime.datetime(2026, 5, 20, tzinfo=datetime.UTC)


def messages(
    columns: dict[str, Any], *items: Any, into: str = "data", name: str = "messages"
) -> Declare:
    """Messages by day, with a column for each of the JSON's values that are asked often."""

    def declare(metadata: MetaData) -> None:
        Table(
            name,
            metadata,
            Column("device", Text, primary_key=True),
            Column("ts", sa.TIMESTAMP(timezone=True), primary_key=True),
            Column(into, JSONB),
            *(
                Column(one, kind, comment=comment_of(into, "Often."))
                for one, kind in columns.items()
            ),
            Hypertable("ts", chunk_interval="1 day"),
            Columnstore(segmentby="device", orderby="ts DESC", after="7 days"),
            *items,
        )

    return declare


def fill(engine: Engine, columns: dict[str, Any]) -> None:
    """Each message on each day; what fits a column is there alone. Half of the days compressed."""
    with engine.begin() as connection:
        names = [f'"{name}"' for name in columns]
        for number, sent in enumerate(SENT):
            left = dict(sent)
            values = [
                left.pop(name) if isinstance(left.get(name), type_.python_type) else None
                for name, type_ in columns.items()
            ]
            for day in range(DAYS):
                # NULL as the JSON of a row that has nothing else
                text = json.dumps(left) if left else None
                connection.exec_driver_sql(
                    f"INSERT INTO messages (device, ts, data{''.join(', ' + n for n in names).replace('%', '%%')})"
                    f" VALUES (%s, %s, %s{', %s' * len(names)})",
                    (f"d{number}", NOW + datetime.timedelta(days=day), text, *values),
                )
        if detect(connection) == COMMUNITY:
            connection.exec_driver_sql(
                "SELECT compress_chunk(c) FROM show_chunks('messages', older_than =>"
                " timestamptz '2026-05-26') c"
            )


def stored(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT device, data FROM messages ORDER BY device, ts")
        return [tuple(row) for row in found]


def chunks(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        if detect(connection) != COMMUNITY:
            return []
        query = "SELECT chunk_name, is_compressed FROM timescaledb_information.chunks ORDER BY 1"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


EXPECTED = [(f"d{number}", sent) for number, sent in enumerate(SENT) for _ in range(DAYS)]
MOVE = 'op.move_into_json("messages", ["chunk", "n\'o", "or%der", "speed"], into="data")'


@pytest.mark.parametrize("offline", [False, True])
def test_values_are_in_the_json_after_the_drop(every_edition: Engine, offline: bool) -> None:
    carry_out = run_offline if offline else run
    without, with_ = metadata_of(messages({})), metadata_of(messages(COLUMNS))
    with every_edition.begin() as connection:
        apply(connection, with_)
    fill(every_edition, COLUMNS)
    before = chunks(every_edition)
    assert not before or {compressed for _, compressed in before} == {True, False}
    assert stored(every_edition) != EXPECTED
    with every_edition.connect() as connection:
        script = migration(connection, without)
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    assert up.splitlines()[0] == MOVE
    assert up.count("\n") == len(COLUMNS)
    assert "move_into_json" not in down
    carry_out(every_edition, up)
    assert stored(every_edition) == EXPECTED
    assert chunks(every_edition) == before
    assert_no_drift(every_edition, without)
    carry_out(every_edition, down)
    assert_no_drift(every_edition, with_)
    assert stored(every_edition) == EXPECTED


def test_the_downgrade_of_their_addition_moves_them_too(every_edition: Engine) -> None:
    without, with_ = metadata_of(messages({})), metadata_of(messages(COLUMNS))
    with every_edition.begin() as connection:
        apply(connection, without)
    fill(every_edition, {})
    with every_edition.connect() as connection:
        script = migration(connection, with_)
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    assert "move_into_json" not in up
    assert down.startswith(
        'op.move_into_json("messages", ["speed", "or%der", "n\'o", "chunk"], into="data")'
    )
    run(every_edition, up)
    with every_edition.begin() as connection:
        connection.exec_driver_sql("TRUNCATE messages")
    fill(every_edition, COLUMNS)
    before = chunks(every_edition)
    run(every_edition, down)
    assert stored(every_edition) == EXPECTED
    assert chunks(every_edition) == before
    assert_no_drift(every_edition, without)


def test_the_drop_loses_nothing_unless_the_move_is_removed(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(messages(COLUMNS)))
        script = migration(connection, metadata_of(messages({})))
        assert warn(script, connection) == {}
        assert {one.risk for one in found_by(script)} == {Risk.BLOCKING}
    told = Effects()
    drops = [one for one in script.upgrade_ops.ops if "Drop" in type(one).__name__]
    assert [one.risk for drop in drops for one in told.of(drop)] == [Risk.DESTRUCTIVE] * len(
        COLUMNS
    )


def test_other_columns_keep_their_values_to_themselves(engine: Engine) -> None:
    def with_note(metadata: MetaData) -> None:
        messages({}, Column("note", Text, comment="Its value is here."))(metadata)

    with engine.begin() as connection:
        apply(connection, metadata_of(with_note))
        script = migration(connection, metadata_of(messages({})))
    assert "move_into_json" not in rendered(script.upgrade_ops)


@pytest.mark.parametrize("into", ["data", "My data"])
def test_the_comment_names_the_json(into: str) -> None:
    assert json_of(comment_of(into, "In km/h.")) == into
    assert json_of("In km/h.") is json_of(None) is None


def test_more_columns_than_a_function_has_arguments(engine: Engine) -> None:
    many: dict[str, Any] = {f"m{number}": BigInteger() for number in range(120)}
    with engine.begin() as connection:
        apply(connection, metadata_of(messages(many)))
        values = ", ".join(map(str, range(120)))
        connection.exec_driver_sql(
            f"INSERT INTO messages (device, ts, {', '.join(many)}) VALUES ('d', now(), {values})"
        )
        up = rendered(migration(connection, metadata_of(messages({}))).upgrade_ops)
    run(engine, up)
    assert stored(engine) == [("d", {f"m{number}": number for number in range(120)})]


def test_a_row_that_is_being_written_is_waited_for(every_edition: Engine) -> None:
    """Otherwise it would be stored after the move, and lose its value to the drop."""
    with every_edition.begin() as connection:
        apply(connection, metadata_of(messages(COLUMNS)))
    fill(every_edition, COLUMNS)
    with every_edition.connect() as writer:
        writer.exec_driver_sql("INSERT INTO messages (device, ts, speed) VALUES ('d', now(), 1)")
        with pytest.raises(sa.exc.OperationalError) as caught:
            run(every_edition, f"op.execute(\"SET LOCAL lock_timeout = '50ms'\")\n{MOVE}")
        assert isinstance(caught.value.orig, LockNotAvailable)


def test_rows_hidden_from_the_owner_are_an_error(owned: Engine) -> None:
    def declare(columns: dict[str, Any]) -> Declare:
        def table(metadata: MetaData) -> None:
            Table(
                "notes",
                metadata,
                Column("id", BigInteger, primary_key=True),
                Column("data", JSONB),
                *(
                    Column(one, kind, comment=comment_of("data", ""))
                    for one, kind in columns.items()
                ),
                RowLevelSecurity(),
            )

        return table

    with owned.begin() as connection:
        apply(connection, metadata_of(declare(COLUMNS)))
        up = rendered(migration(connection, metadata_of(declare({}))).upgrade_ops)
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security") as caught:
        run(owned, up)
    assert isinstance(caught.value.orig, InsufficientPrivilege)


# --- what would leave values behind ---

OTHER = {"velocity": Double()}
ONE = {"speed": Double()}


def test_a_rename_is_not_offered(engine: Engine) -> None:
    asked: list[Any] = []
    with engine.begin() as connection:
        apply(connection, metadata_of(messages(ONE)))
        script = migration(connection, metadata_of(messages(OTHER)))
        assert likely_renames(script) == []
        answers = Answers(ask=lambda one: asked.append(one) or True)
        script = migration(connection, metadata_of(messages(OTHER)), answers)
    text = rendered(script.upgrade_ops)
    assert not asked
    assert text.startswith('op.move_into_json("messages", ["speed"], into="data")')
    assert "op.drop_column" in text
    assert "op.add_column" in text


@pytest.mark.parametrize("said", ["option", "model"])
def test_a_rename_that_is_said_is_refused(said: str, engine: Engine) -> None:
    former = [RenamedFrom(velocity="speed")] if said == "model" else []
    answers = Answers(("messages.speed:messages.velocity",) if said == "option" else ())
    with engine.begin() as connection:
        apply(connection, metadata_of(messages(ONE)))
        with pytest.raises(CommandError) as caught:
            migration(connection, metadata_of(messages(OTHER, *former)), answers)
    message = str(caught.value)
    assert "column public.messages.speed to public.messages.velocity" in message
    assert "declare velocity beside it, and remove speed" in message
    assert "\n" not in message


def test_the_table_is_renamed_with_them(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(messages(ONE)))
        answers = Answers(("messages:news",))
        script = migration(connection, metadata_of(messages(ONE, name="news")), answers)
    text = rendered(script.upgrade_ops)
    assert 'op.rename_table("messages", "news")' in text
    assert "move_into_json" not in text


def test_another_type_is_refused(engine: Engine) -> None:
    """3 would become "3" in the JSON, and on compressed chunks the server refuses it anyway."""
    with engine.begin() as connection:
        apply(connection, metadata_of(messages(ONE)))
        script = migration(connection, metadata_of(messages({"speed": Text()})))
        assert found_by(script)
        with pytest.raises(CommandError, match="drop it in one revision, which moves them there"):
            rendered(script.upgrade_ops)
