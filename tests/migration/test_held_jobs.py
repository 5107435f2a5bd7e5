"""Jobs of TimescaleDB's policies wait until an upgrade is through, also one that was killed."""

from __future__ import annotations

import signal
import threading
from collections import defaultdict

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database.migration import held_jobs
from ddl.sql import send
from operations.maintenance import policy_jobs
from operations.maintenance.paused_jobs import PausedJobs
from tests.migration.test_runner import start
from tests.support.alembic_project import config_for
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.time_series import RAW, migrate

DUE = """
    SELECT v.version_num, j.job_id, j.proc_name, j.hypertable_name
      FROM alembic_version v LEFT JOIN timescaledb_information.jobs j
        ON j.scheduled AND j.proc_name ~ '^policy_' AND j.hypertable_name IS NOT NULL
       AND coalesce(j.next_start, now()) < now() + interval '10 years'
"""
"""What the scheduler would start sooner or later, with the revision in the same snapshot."""
STARTS = (
    "SELECT job_id, next_start FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY 1"
)

pytestmark = pytest.mark.timescaledb


@pytest.fixture
def url(timescaledb_server: DatabaseServer, make_database: MakeDatabase) -> str:
    return make_database(timescaledb_server, like=migrate)


class Watcher(threading.Thread):
    """What the scheduler could have started at each revision."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.seen: defaultdict[str, set[str]] = defaultdict(set)
        self.over = threading.Event()

    def run(self) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not self.over.wait(0.02):
                for version, *job in connection.exec_driver_sql(DUE).all():
                    self.seen[version] |= {str(job)} if job[0] is not None else set()


def test_no_job_starts_between_two_revisions(url: str) -> None:
    with engine_of(url) as engine, engine_of(url) as another:
        command.downgrade(config_for(engine), "0029")
        head = config_for(engine)
        watcher = Watcher(another)
        watcher.start()
        command.upgrade(head, "head")
        watcher.over.set()
        watcher.join()
        ends = {min(watcher.seen), max(watcher.seen)}
        assert len(watcher.seen) > 10
        assert {at: jobs for at, jobs in watcher.seen.items() if jobs and at not in ends} == {}
        with engine.connect() as connection:
            assert policy_jobs.problems(connection) == []
            starts = connection.execute(sa.text(STARTS)).all()
        command.downgrade(head, "-1")
        command.upgrade(head, "head")
        with engine.connect() as connection:
            assert connection.execute(sa.text(STARTS)).all() == starts


def test_a_command_that_changed_nothing_lets_them_go_on(url: str) -> None:
    with engine_of(url) as engine:
        command.downgrade(config_for(engine), "-1")
        with engine.connect() as connection:
            starts = connection.execute(sa.text(STARTS)).all()

        def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            assert not statement.startswith("UPDATE alembic_version"), "the end of the revision"

        sa.event.listen(engine, "before_cursor_execute", fail)
        with pytest.raises(AssertionError, match="the end of the revision"):
            command.upgrade(config_for(engine), "head")
        sa.event.remove(engine, "before_cursor_execute", fail)
        with engine.connect() as connection:
            assert connection.execute(sa.text(STARTS)).all() == starts


def test_a_refresh_at_the_same_time_lets_none_of_them_go_on(url: str) -> None:
    """Which pauses jobs, too, and ends before or after the upgrade."""
    count = sa.text(f"SELECT count(*) FROM timescaledb_information.jobs j WHERE {held_jobs.HELD}")
    with engine_of(url) as engine, engine.connect() as one, engine.connect() as other:
        before = PausedJobs(one, [RAW])
        assert len(before.starts) > 1
        send(other, held_jobs.PAUSE)
        other.commit()
        held = other.scalar(count)
        assert held > 10
        during = PausedJobs(one, [RAW])
        before.resume(one)
        assert other.scalar(count) == held
        send(other, held_jobs.RESUME)
        other.commit()
        during.resume(one)
        assert other.scalar(count) == 0


def test_after_a_killed_upgrade_they_wait_for_the_next(url: str) -> None:
    with engine_of(url) as engine:
        command.downgrade(config_for(engine), "-3")
        with engine.begin() as connection:
            connection.execute(
                sa.text(
                    "SELECT alter_job(job_id, next_start => 'infinity')"
                    "  FROM timescaledb_information.jobs"
                    " WHERE hypertable_name = 'telemetry' AND proc_name = 'policy_retention'"
                )
            )
        runner = start(url, "upgrade", "head")
        assert runner.stdout is not None
        for line in runner.stdout:
            if " + 0" in line:
                break
        runner.send_signal(signal.SIGKILL)
        runner.communicate()
        with engine.connect() as connection:
            fixes = [problem.fix for problem in policy_jobs.problems(connection)]
        assert fixes.count("alembic upgrade head") > 10
        command.upgrade(config_for(engine), "head")
        with engine.connect() as connection:
            [problem] = policy_jobs.problems(connection)
        # What a person has paused stays so, and is named.
        assert problem.text.startswith("retention policy of timeseries.telemetry: ")
        assert "is paused until infinity" in problem.text
        assert "next_start => now()" in problem.fix
