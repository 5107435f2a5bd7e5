"""The runner started several times at once, killed, kept waiting; what it records and sets."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic import command

from database import privileges, security
from database.embedded import TemporaryServer
from database.migration.preparation import LOCK_KEY
from models.shared.roles import ROLE_NAMES
from tests.support.alembic_project import alembic, config_for, environment, failure
from tests.support.commands import ROOT
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.pooler import PORT, transaction_pooler
from tests.support.snapshot import differences, snapshot


def start(url: str, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "alembic", *arguments],
        cwd=ROOT,
        env=environment(url, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# --- doubled, killed, blocked ---


def test_runners_at_once_all_succeed(make_database: MakeDatabase) -> None:
    """Three pods that start together: one works, the others wait and find nothing to do."""
    url = make_database()
    runners = [start(url, "upgrade", "head") for _ in range(3)]
    outputs = [runner.communicate(timeout=120)[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0, 0], outputs
    applied = [line for output in outputs for line in output.splitlines() if " + 0" in line]
    assert len(applied) == len(set(re.findall(r"\+ (\d{4})_", "\n".join(applied))))
    with engine_of(url) as engine:
        command.check(config_for(engine))


@pytest.mark.parametrize("lines", [1, 4])
def test_killed_runner_is_continued(
    lines: int, make_database: MakeDatabase, migrated_database: str
) -> None:
    """SIGKILL after some revisions: finished ones are kept, the next run does the rest."""
    url = make_database()
    runner = start(url, "upgrade", "head")
    assert runner.stdout is not None
    for line in runner.stdout:
        lines -= " + 0" in line
        if lines == 0:
            break
    runner.send_signal(signal.SIGKILL)
    runner.communicate()
    assert alembic("upgrade", "head", url=url).returncode == 0
    with engine_of(url) as found, engine_of(migrated_database) as expected:
        with found.begin() as one, expected.begin() as other:
            assert differences(snapshot(one), snapshot(other)) == []
        command.check(config_for(found))


def test_busy_table_is_tried_again(migrated_database: str) -> None:
    """A lock of another session delays the deploy, but no other session queues behind it."""
    with engine_of(migrated_database) as engine:
        # Its tables refer to tenants.
        command.downgrade(config_for(engine), "0030")
        with engine.connect() as holder:
            holder.execute(sa.text("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE"))
            output = ""
            short = {"MIGRATION_LOCK_TIMEOUT": "0.3"}
            with start(migrated_database, "upgrade", "head", **short) as runner:
                assert runner.stdout is not None
                for line in runner.stdout:
                    output += line
                    if "busy" in line:
                        holder.rollback()
            assert runner.returncode == 0, output
            assert "busy" in output
        command.check(config_for(engine))


def test_lock_that_stays_is_reported(migrated_database: str) -> None:
    """After the bounded wait the message says who holds the migration lock."""
    with engine_of(migrated_database) as engine, engine.connect() as holder:
        holder.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        result = alembic("upgrade", "head", url=migrated_database, MIGRATION_LOCK_WAIT="0.5")
        pid = holder.scalar(sa.text("SELECT pg_backend_pid()"))
        assert f"process {pid} of postgres" in failure(result)


def test_pooler_is_rejected(lone_server: TemporaryServer) -> None:
    """Session locks and settings do not hold through a transaction pooler."""
    with transaction_pooler(lone_server, "postgres") as folder:
        url = f"postgresql://any@/postgres?host={folder}&port={PORT}"
        assert "MIGRATION_DATABASE_URL" in failure(alembic("upgrade", "head", url=url))


# --- history, privileges ---


def test_history_says_what_was_done(make_database: MakeDatabase) -> None:
    """One row per step, in order, with the checksum of the file; no role of ours may touch it."""
    with engine_of(make_database()) as engine:
        config = config_for(engine)
        command.upgrade(config, "0002")
        command.downgrade(config, "base")
        with engine.connect() as connection:
            rows = (
                connection.execute(sa.text("SELECT * FROM schema_history ORDER BY id"))
                .mappings()
                .all()
            )
            assert [(row["revision"], row["direction"]) for row in rows] == [
                ("0001", "upgrade"),
                ("0002", "upgrade"),
                ("0002", "downgrade"),
                ("0001", "downgrade"),
            ]
            assert all(re.fullmatch("[0-9a-f]{64}", row["checksum"]) for row in rows)
            assert all(row["duration_ms"] >= 0 and row["applied_by"] for row in rows)
            for role in ROLE_NAMES:
                exists = connection.scalar(
                    sa.text("SELECT count(*) FROM pg_roles WHERE rolname = :r"), {"r": role}
                )
                assert not exists or not connection.scalar(
                    sa.text("SELECT has_table_privilege(:r, 'schema_history', 'select, insert')"),
                    {"r": role},
                )


def test_database_privileges_are_read_back(migrated_database: str) -> None:
    """What a restore or a person changed on the database itself is found and fixed."""
    with engine_of(migrated_database) as engine:
        name = engine.url.database
        with engine.begin() as connection:
            assert privileges.problems(connection) == []
            connection.execute(sa.text(f'GRANT TEMP ON DATABASE "{name}" TO PUBLIC'))
            grant = f'GRANT TEMP, CREATE ON DATABASE "{name}" TO fleet_operator_read'
            connection.execute(sa.text(grant))
            connection.execute(sa.text(f'ALTER DATABASE "{name}" RESET timezone'))
            found = "\n".join(privileges.problems(connection))
            assert "PUBLIC expected nothing, found temp" in found
            assert "timezone expected UTC, found no setting" in found
        command.upgrade(config_for(engine), "head")
        with engine.connect() as connection:
            assert privileges.problems(connection) == []
            assert security.differences(connection) == []
