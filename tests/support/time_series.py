"""Hypertables: a migrated database of each edition, tenants and their rows."""

from __future__ import annotations

import argparse
import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from ddl.edition import Edition, available, detect
from models.shared.roles import ROLE_NAMES
from operations.maintenance.run import Report
from tests.support import context
from tests.support.alembic_project import config_for
from tests.support.commands import ROOT
from tests.support.engines import engine_of
from tests.support.plain_owner import let_take_roles
from tests.support.preparation import after

ACME, GLOBEX, HOOLI = (uuid.UUID(int=number) for number in (0xA, 0xB, 0xC))
SLUGS = {ACME: "acme", GLOBEX: "globex", HOOLI: "hooli"}
RAW = "timeseries.telemetry"
RAW_SQL = {"no_parameters": True}
"""For statements in which % is not a placeholder."""


def migrate(url: str) -> None:
    """Bring a database to the head, without workers where the server runs jobs."""
    with engine_of(url) as engine:
        with engine.begin() as connection:
            superuser = connection.scalar(sa.text("SELECT current_setting('is_superuser') = 'on'"))
            if superuser and available(connection) is Edition.COMMUNITY:
                run = connection.exec_driver_sql
                run("CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public")
            stop_workers(connection)
        command.upgrade(config_for(engine), "head")
        with engine.begin() as connection:
            context.apply(connection)


def stop_workers(connection: Connection) -> None:
    """No job of the database may start before a test can stop it."""
    superuser = connection.scalar(sa.text("SELECT current_setting('is_superuser') = 'on'"))
    if superuser and detect(connection) is Edition.COMMUNITY:
        connection.exec_driver_sql("SELECT _timescaledb_functions.stop_background_workers()")


def script(revision: str, edition: str) -> str:
    """What `alembic upgrade REVISION --sql -x edition=EDITION` writes."""
    buffer = io.StringIO()
    options = argparse.Namespace(x=[f"edition={edition}"])
    config = Config(str(ROOT / "alembic.ini"), output_buffer=buffer, cmd_opts=options)
    command.upgrade(config, revision, sql=True)
    return buffer.getvalue()


def run_script(url: str, text: str) -> None:
    with engine_of(url) as engine, engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        driver: Any = connection.connection.driver_connection
        driver.execute(text)


@contextmanager
def owned(url: str) -> Iterator[str]:
    """The URL of a login that owns the empty database and is not a superuser."""
    name, password = f"owner_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    made = sa.make_url(url)
    with engine_of(url) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD '{password}'")
            for role in ROLE_NAMES:
                connection.exec_driver_sql(
                    f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL;"
                    " END $$"
                )
            let_take_roles(connection, name)
            connection.exec_driver_sql(f'ALTER DATABASE "{made.database}" OWNER TO {name}')
        try:
            yield made.set(username=name, password=password).render_as_string(hide_password=False)
        finally:
            admin = made.set(database="postgres").render_as_string(hide_password=False)
            with engine_of(admin) as other, other.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql(f'DROP DATABASE "{made.database}" WITH (FORCE)')
                connection.exec_driver_sql(f"DROP OWNED BY {name}")
                connection.exec_driver_sql(f"DROP ROLE {name}")


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options=RAW_SQL)


def alone(engine: Engine, *statements: str) -> list[Any]:
    """Execute each statement outside a transaction; returns the rows of the last query."""
    rows: list[Any] = []
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            result = connection.exec_driver_sql(statement, execution_options=RAW_SQL)
            rows = list(result) if result.returns_rows else rows
    return rows


def scalar(engine: Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.exec_driver_sql(query, execution_options=RAW_SQL).scalar_one()


def make_tenants(engine: Engine) -> None:
    values = ", ".join(f"('{tenant}', '{slug}', '{slug}')" for tenant, slug in SLUGS.items())
    execute(
        engine,
        "SET LOCAL ROLE fleet_operator",
        f"INSERT INTO tenants (tenant_id, slug, name) VALUES {values}",
    )


@after(migrate)
def with_tenants(url: str) -> None:
    """Tenants and stopped jobs."""
    with engine_of(url) as engine:
        make_tenants(engine)
        with engine.connect() as connection:
            community = detect(connection) is Edition.COMMUNITY
        if community:
            stop_jobs(engine)


def add_rows(
    engine: Engine, tenant: uuid.UUID, age: str, rows: int = 100, step: str = "1 second"
) -> None:
    """``rows`` messages from ``age`` ago on, within one day."""
    execute(
        engine,
        f"INSERT INTO {RAW} (tenant_id, ts, device_id, seq, metrics)"
        f" SELECT '{tenant}', date_trunc('day', now() - interval '{age}') + n % 80000 *"
        f" interval '{step}', 'device-' || n % 2, n, jsonb_build_object('t', n)"
        f" FROM generate_series(1, {rows}) n",
    )


def refresh(engine: Engine) -> None:
    for name in ("hourly", "daily"):
        alone(
            engine,
            f"CALL refresh_continuous_aggregate('timeseries.telemetry_{name}', NULL, NULL)",
        )


def compress(engine: Engine) -> None:
    for name in ("telemetry", "telemetry_hourly", "telemetry_daily"):
        alone(engine, f"SELECT compress_chunk(c, true) FROM show_chunks('timeseries.{name}') c")


def stop_jobs(engine: Engine) -> None:
    """Stop the jobs of the policies, so that they do not interfere with a test."""
    alone(
        engine,
        "SELECT alter_job(job_id, next_start => now() + interval '1 year')"
        " FROM timescaledb_information.jobs WHERE job_id >= 1000",
    )


def checksum(engine: Engine, relation: str, tenant: uuid.UUID | None = None) -> str:
    condition = "true" if tenant is None else f"tenant_id = '{tenant}'"
    found: str = scalar(
        engine,
        "SELECT count(*) || md5(coalesce(string_agg(x::text, ' ' ORDER BY x::text), ''))"
        f" FROM {relation} x WHERE {condition}",
    )
    return found


def checksums(engine: Engine, tenant: uuid.UUID) -> dict[str, str]:
    """Checksums of a tenant's raw data and rollups."""
    names = (RAW, f"{RAW}_hourly", f"{RAW}_daily")
    return {name: checksum(engine, name, tenant) for name in names}


def stored(engine: Engine, rollup: str) -> str:
    """The table that holds the rows of a rollup."""
    found: str = scalar(
        engine,
        "SELECT format('%I.%I', materialization_hypertable_schema,"
        " materialization_hypertable_name) FROM timescaledb_information.continuous_aggregates"
        f" WHERE view_name = '{rollup}'",
    )
    return found


def count(engine: Engine, tenant: uuid.UUID, relation: str = RAW) -> int:
    found: int = scalar(engine, f"SELECT count(*) FROM {relation} WHERE tenant_id = '{tenant}'")
    return found


def set_policy(engine: Engine, tenant: uuid.UUID, relation: str, days: int) -> None:
    execute(
        engine,
        "SET LOCAL ROLE fleet_operator",
        "INSERT INTO data_retention_policies (tenant_id, relation, retention_days)"
        f" VALUES ('{tenant}', '{relation}', {days})",
    )


def removed_rows(report: Report) -> dict[tuple[str, object], int]:
    found: dict[tuple[str, object], int] = {}
    for removal in report.removals:
        key = removal.relation, removal.tenant_id
        found[key] = found.get(key, 0) + removal.rows
    return found
