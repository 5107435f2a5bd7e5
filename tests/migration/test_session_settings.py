"""What a database or role sets for its sessions changes nothing that is written or read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Column, Connection, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, INTERVAL, TIMESTAMP

from database.migration import preparation
from database.migration.preparation import PreparationError
from database.settings import Settings
from ddl import Function, Trigger, View, session
from ddl.edition import detect
from ddl.sql import ident, literal
from tests.ddl.case import SETTINGS, nothing
from tests.support.alembic_project import alembic, failure
from tests.support.databases import MakeDatabase, richest_or_each
from tests.support.engines import engine_of, execute
from tests.support.generated_revisions import apply, metadata_of, migration, rendered
from tests.support.servers import DatabaseServer
from tests.support.snapshot import differences, snapshot
from tests.support.time_series import migrate

HOSTILE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Chatham",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "quote_all_identifiers": "on",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "xmloption": "document",
    "timezone_abbreviations": "Australia",
    "check_function_bodies": "off",
    "session_replication_role": "replica",
    "row_security": "off",
    "restrict_nonsystem_relation_kind": "view",
    "timescaledb.enable_cagg_window_functions": "on",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "400",
    "transaction_timeout": "500",
    "idle_in_transaction_session_timeout": "600",
    "idle_session_timeout": "700",
    "search_path": '"$user", pg_temp, timeseries',
    "lock_timeout": "1",
    "client_min_messages": "debug1",
    "escape_string_warning": "on",
    "lc_time": "C",
    "gin_fuzzy_search_limit": "1",
    "jit": "on",
}


def admin_of(url: str) -> sa.URL:
    return sa.make_url(url).set(database="postgres")


def set_hostile(url: str) -> None:
    """One half for the database, the other for the role in it, which wins."""
    name = ident(sa.make_url(url).database or "")
    with engine_of(url) as engine, engine.begin() as connection:
        known = set(connection.scalars(sa.text("SELECT name FROM pg_settings")))
        user = ident(connection.scalar(sa.text("SELECT current_user::text")) or "")
    for number, (setting, value) in enumerate(HOSTILE.items()):
        whose = (f"DATABASE {name}", f"ROLE {user} IN DATABASE {name}")[number % 2]
        if setting in known:
            spelled = value if setting == "search_path" else literal(value)
            execute(
                url.replace(f"/{name}", "/postgres"), f"ALTER {whose} SET {setting} = {spelled}"
            )


def set_friendly(url: str) -> None:
    """Remove them, so that the test itself reads as usual."""
    name = ident(sa.make_url(url).database or "")
    admin = admin_of(url)
    with engine_of(admin) as engine, engine.begin() as connection:
        user = ident(connection.scalar(sa.text("SELECT current_user::text")) or "")
    execute(admin, f"ALTER DATABASE {name} RESET ALL")
    execute(admin, f"ALTER ROLE {user} IN DATABASE {name} RESET ALL")


def seen(url: str) -> dict[str, dict[str, object]]:
    with engine_of(url) as engine, engine.begin() as connection:
        return snapshot(connection, runner_tables=True)


CLASSES = ("safe ", "blocking ", "destructive ", "history-losing ", "by-hand ")


def assert_no_drift(url: str) -> None:
    """Nothing differs but what undoes isolation in every other session (docs/drift.md)."""
    result = alembic("check", url=url)
    found = [line for line in result.stdout.splitlines() if line.startswith(CLASSES)]
    named = [line for line in found if re.search(r"   (row_security|search_path): ", line)]
    assert found == named, result.stdout
    assert (result.returncode == 0) == (not named), result.stdout + result.stderr


def test_every_setting_is_set_to_something_else() -> None:
    """`event_triggers` and money's locale need a server that has them; the rest is hostile here."""
    assert session.FIXED.keys() - HOSTILE.keys() == {"event_triggers", "lc_monetary"}
    assert not [name for name, value in session.FIXED.items() if HOSTILE.get(name) == value]


@pytest.mark.slow
@pytest.mark.parametrize("any_server", richest_or_each("embedded", "timescaledb"), indirect=True)
def test_upgrade_check_downgrade_and_script(
    any_server: DatabaseServer, make_database: MakeDatabase, psql: Path, tmp_path: Path
) -> None:
    friendly, hostile = make_database(any_server, like=migrate), make_database(any_server)
    set_hostile(hostile)
    result = alembic("upgrade", "head", url=hostile)
    assert result.returncode == 0, result.stdout + result.stderr
    for url in (friendly, hostile):
        assert_no_drift(url)
    set_friendly(hostile)
    expected = seen(friendly)
    assert differences(seen(hostile), expected) == []
    set_hostile(hostile)
    result = alembic("downgrade", "base", url=hostile)
    assert result.returncode == 0, result.stdout + result.stderr
    with engine_of(friendly) as engine, engine.connect() as connection:
        edition = f"edition={detect(connection)}"
    script = tmp_path / "up.sql"
    script.write_text(
        alembic("-x", edition, "upgrade", "head", "--sql", url=None).stdout, encoding="utf-8"
    )
    target = sa.make_url(hostile).set(drivername="postgresql")
    subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script,
         target.render_as_string(hide_password=False)],
        check=True,
    )  # fmt: skip
    assert_no_drift(hostile)
    set_friendly(hostile)
    assert differences(seen(hostile), expected) == []


def sensitive(metadata: MetaData) -> None:
    """What the server reads or writes in another way under other settings."""
    moment = TIMESTAMP(timezone=True)
    Function(
        "stamp",
        returns="trigger",
        language="plpgsql",
        body="BEGIN NEW.note := NEW.note || E'\\\\n'; RETURN NEW; END",
        settings=SETTINGS,
        metadata=metadata,
    )
    Table(
        "samples",
        metadata,
        Column("id", Text, primary_key=True, comment=r"C:\temp, 50 % of :it"),
        Column("order", Text, server_default=r"a\b"),
        Column("raw", BYTEA, server_default=sa.text(r"'\x00ff'::bytea")),
        Column("pause", INTERVAL, server_default=sa.text("'-1 day 02:00:03.5'::interval")),
        Column("since", moment, server_default=sa.text("'2026-02-03 04:05 EST'::timestamptz")),
        Column("day", sa.Date, server_default=sa.text("'02.03.2026'::date")),
        Column("share", sa.Double, server_default=sa.text("0.1::float8 + 0.2::float8")),
        Column("listed", ARRAY(Text), server_default=sa.text("'{NULL,a}'::text[]")),
        Column("note", Text),
        sa.CheckConstraint("note = NULL OR note <> ''", name="note"),
        sa.CheckConstraint("since > '2020-07-01'::timestamptz", name="since"),
        Trigger("stamps", timing="before", events="insert or update", function="stamp()"),
        comment=r"A \ and a 'quote'.",
    )
    View(
        "recent",
        "SELECT id, since + '1 day'::interval AS due FROM samples"
        " WHERE since > '2026-07-01 00:00:00+00'::timestamptz AND share > 0.3",
        security_invoker=True,
        metadata=metadata,
    )


def used(url: str) -> Iterator[Connection]:
    """A connection as the runner has it, to a server that it has not met before."""
    with engine_of(url) as engine, engine.connect() as connection:
        preparation.use(connection, Settings())
        yield connection


def test_expressions(any_server: DatabaseServer, make_database: MakeDatabase) -> None:
    """A revision, and the way back, is the same text under whatever settings."""
    friendly, hostile = make_database(any_server), make_database(any_server)
    set_hostile(hostile)
    texts = []
    for url in (friendly, hostile):
        for connection in used(url):
            script = migration(connection, metadata_of(sensitive))
            apply(connection, metadata_of(sensitive))
            back = migration(connection, metadata_of(nothing))
            assert rendered(migration(connection, metadata_of(sensitive)).upgrade_ops) == "pass"
            connection.commit()
            texts.append([rendered(script.upgrade_ops), rendered(back.downgrade_ops)])
    set_friendly(hostile)
    assert texts[0] == texts[1]
    assert differences(seen(hostile), seen(friendly)) == []


def test_what_only_a_superuser_changes(owned: tuple[str, str]) -> None:
    mine, admin = owned
    execute(admin, "ALTER ROLE owner IN DATABASE owned SET session_replication_role = replica")
    expected = "session_replication_role: expected origin, found replica. Remove them"
    assert expected in failure(alembic("upgrade", "head", url=mine))


@pytest.mark.timescaledb
def test_a_restore_that_has_not_ended(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    url = make_database(timescaledb_server)
    execute(url, "CREATE EXTENSION timescaledb")
    execute(url, "SELECT timescaledb_pre_restore()")
    expected = r"SELECT timescaledb_post_restore\(\)"
    with (
        engine_of(url) as engine,
        engine.connect() as connection,
        pytest.raises(PreparationError, match=expected),
    ):
        preparation.use(connection, Settings())
