"""From nothing to a migrated database with reference data, and a summary of it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from alembic import command
from alembic.migration import MigrationContext
from sqlalchemy import Engine

import models
from database.engine import make_engine
from database.server_info import ServerInfo, server_info
from database.settings import Settings, application_url, embedded_server, migration_url
from ddl import Declared, pending_operations
from ddl.kinds.hypertable import HypertableState
from models.shared.base import TIMESERIES
from operations import reference
from operations.console import console, plain_table, write
from operations.owner import owner_engine
from operations.revisions.project import alembic_config


@dataclass(frozen=True)
class Summary:
    """A database; counts are read from its catalog."""

    server: ServerInfo
    url: str
    """Of the owner: MIGRATION_DATABASE_URL."""
    services: str
    """How services reach it: DATABASE_URL."""
    revision: str | None
    tables: dict[str, int]
    """Domain to number of tables that exist."""
    isolated: dict[str, int]
    """Domain to number of tables with forced row-level security."""
    hypertables: dict[str, int]
    """Domain to number of hypertables, which are isolated by tenant views instead."""
    skipped: str
    """What the server's edition lacks; empty where it lacks nothing."""


def up() -> None:
    """Start the embedded server if needed, upgrade, apply reference data, print a summary."""
    settings = Settings()
    begin = time.monotonic()
    if settings.database_url is None and settings.migration_database_url is None:
        server = embedded_server(settings)
        started = server.ensure()
        state = (
            "Started the embedded PostgreSQL" if started else "The embedded PostgreSQL is running"
        )
        write(f"{state} ({server.home})")
    url = migration_url(settings)
    before = _revision_of(settings)
    write("Applying revisions")
    command.upgrade(alembic_config(), "head")
    with owner_engine() as engine:
        with engine.connect() as connection:
            after = MigrationContext.configure(connection).get_current_revision()
        if before == after:
            write(f"  nothing to do: the database is at the head, {after}")
        write("Applying reference data")
        report_reference(reference.apply(engine))
        print_summary(summarize(engine, _printable(url), _services(settings)))
    write(f"Done in {time.monotonic() - begin:.1f} s.")


def _printable(url: sa.URL) -> str:
    """The URL in the form of psql and DATABASE_URL, without the password."""
    text = url.set(drivername="postgresql").render_as_string(hide_password=True)
    return text.replace("%2F", "/")


def _services(settings: Settings) -> str:
    embedded = settings.database_url is None and settings.migration_database_url is None
    if not embedded and (settings.database_url is None or settings.migration_database_url is None):
        return "python -m operations login create fleet_api --role fleet_app"
    return _printable(application_url(settings))


def _revision_of(settings: Settings) -> str | None:
    """The revision before the upgrade; None also if the database does not exist yet."""
    engine = make_engine(migration_url(settings), settings=settings, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except sa.exc.OperationalError:
        return None
    finally:
        engine.dispose()


def report_reference(applied: list[reference.Applied]) -> None:
    """Print a line per subject that changed, or one that nothing did."""
    changed = [entry for entry in applied if entry.changed]
    for entry in changed:
        write(f"  {entry.name}: {entry.changed} rows")
    if not changed:
        write("  nothing to do: all of it is there")


_TABLES = sa.text("""
SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname AS name,
       c.relrowsecurity AND c.relforcerowsecurity AS isolated
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (:schemas) AND c.relkind IN ('r', 'p')
""")


def summarize(engine: Engine, url: str, services: str) -> Summary:
    """Read the summary of a database from its catalog."""
    with engine.connect() as connection:
        found = connection.execute(_TABLES, {"schemas": ["public", TIMESERIES]}).all()
        domains = {row.name: models.DOMAINS.get(row.name) for row in found}
        hypertables = Declared.on(models.metadata).of(HypertableState)
        return Summary(
            server=server_info(connection),
            url=url,
            services=services,
            revision=MigrationContext.configure(connection).get_current_revision(),
            tables=dict(Counter(domain for domain in domains.values() if domain)),
            isolated=dict(
                Counter(domain for row in found if row.isolated and (domain := domains[row.name]))
            ),
            hypertables=dict(
                Counter(
                    domain
                    for name, domain in domains.items()
                    if domain and tuple(name.split(".")) in hypertables
                )
            ),
            skipped=pending_operations.skipped(connection),
        )


def print_summary(summary: Summary) -> None:
    """Print server, address, revision, tables by domain, what is left out, what to run next."""
    server = summary.server
    timescaledb = f", TimescaleDB {server.timescaledb}" if server.timescaledb else ""
    write()
    write(f"PostgreSQL {server.version}{timescaledb} (edition {server.edition})")
    write(f"Owner      {summary.url}")
    write(f"Services   {summary.services}")
    write(f"Revision   {summary.revision}")
    table = plain_table("Domain", "Tables", "Isolated", "Hypertables")
    counts = (summary.tables, summary.isolated, summary.hypertables)
    for domain in sorted(summary.tables):
        table.add_row(domain, *(str(count.get(domain, 0)) for count in counts))
    table.add_row("all", *(str(sum(count.values())) for count in counts))
    console.print(table)
    if summary.skipped:
        write(f"Left out   {summary.skipped}")
    write(
        "Next       make demo (two tenants, thousands of devices), make test, make help; "
        "python -m operations admin create --email you@example.com"
    )
