"""What only a superuser can take from PUBLIC: who does it, and what it costs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import sqlalchemy as sa
from alembic import command

from database import hardening
from ddl.sql import send
from tests.support.alembic_project import alembic, config_for, operations
from tests.support.engines import engine_of, execute


def test_a_superuser_does_what_the_owner_cannot(owned: tuple[str, str], psql: Path) -> None:
    """The owner is told, gap by gap; the script closes them, and all of ours works as before."""
    mine, admin = owned
    execute(admin, "ALTER ROLE owner CREATEROLE")
    upgraded = alembic("upgrade", "head", url=mine).stdout
    assert "have a superuser run what `python -m operations hardening` prints" in upgraded
    told = operations("hardening", "--check", url=mine)
    assert told.returncode == 1
    assert (
        "pg_catalog.pg_advisory_lock(bigint): expected no EXECUTE for PUBLIC, found EXECUTE for"
        " PUBLIC; run as a superuser: REVOKE EXECUTE ON ROUTINE pg_catalog.pg_advisory_lock(bigint)"
        " FROM PUBLIC\n"
    ) in told.stdout
    assert alembic("check", url=mine).returncode == 0
    script = operations("hardening", url=mine).stdout
    for url, refused in ((mine, "expected a superuser, found owner"), (admin, ""), (admin, "")):
        address = url.replace("+psycopg", "")
        run = subprocess.run(
            [psql, "-X", "-v", "ON_ERROR_STOP=1", "-d", address],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused in run.stderr
        assert bool(run.returncode) is bool(refused)
    told = operations("hardening", "--check", url=mine)
    assert (told.returncode, told.stdout.count("\n")) == (0, 1)
    assert "superuser" not in alembic("upgrade", "head", url=mine).stdout
    assert alembic("check", url=mine).returncode == 0
    for arguments in (["reference"], ["demo", "--devices", "20"], ["maintain"], ["login", "list"]):
        done = operations(*arguments, url=mine)
        assert done.returncode == 0, done.stdout + done.stderr
    dump = [psql.with_name("pg_dump"), "-f", os.devnull, mine.replace("+psycopg", "")]
    refused_dump = subprocess.run(dump, capture_output=True, text=True, check=False)
    assert "affected by row-level security" in refused_dump.stderr


def test_an_owner_leaves_what_a_superuser_did(owned: tuple[str, str]) -> None:
    """A downgrade says what stays, and how to have it undone; then nothing of ours is left."""
    mine, admin = owned
    execute(admin, "ALTER ROLE owner CREATEROLE")
    with engine_of(mine) as engine, engine_of(admin) as superusers:
        command.upgrade(config_for(engine), "0001")
        with superusers.begin() as connection:
            send(connection, hardening.script())
        told = alembic("downgrade", "base", url=mine).stdout
        assert (
            "what only a superuser did to database owned stays, run: python -m operations" in told
        )
        assert "role fleet_ingest stays, used by database owned\n" in told
        assert "fleet_app" not in told
        script = operations("hardening", "--undo", url=mine).stdout
        with superusers.begin() as connection:
            send(connection, script)
        again = alembic("downgrade", "base", url=mine)
        assert (again.returncode, "stays" in again.stdout) == (0, False), again.stderr
        with superusers.connect() as connection:
            assert connection.scalar(sa.text(_LEFT)) == 0


_LEFT = """
SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'fleet%')
     + (SELECT count(*) FROM pg_event_trigger)
     + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'fleet%')
     + (SELECT count(*) FROM pg_proc p LEFT JOIN pg_init_privs i ON i.objoid = p.oid
         WHERE NOT (proacl @> acldefault('f', proowner) AND proacl <@ acldefault('f', proowner))
           AND i.objoid IS NULL)
"""


def test_another_gap_is_closed_by_the_next_upgrade(migrated_database: str) -> None:
    """An update of an extension makes functions anew; the last downgrade gives everything back."""
    with engine_of(migrated_database) as engine:
        execute(migrated_database, "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC")
        with engine.connect() as connection:
            (gap,) = hardening.gaps(connection)
            assert gap.name == "pg_catalog.lo_create(oid)"
        command.upgrade(config_for(engine), "head")
        with engine.connect() as connection:
            assert hardening.gaps(connection) == []
        command.downgrade(config_for(engine), "base")
        with engine.connect() as connection:
            left = connection.scalars(
                sa.text(
                    "SELECT oid::regprocedure FROM pg_proc p"
                    " WHERE NOT (proacl @> acldefault('f', proowner)"
                    "            AND proacl <@ acldefault('f', proowner))"
                    "   AND NOT EXISTS (SELECT FROM pg_init_privs i WHERE i.objoid = p.oid)"
                )
            )
            assert left.all() == []
