"""Everything from nothing to a migrated database with reference data, and what it then is."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from alembic import command
from alembic.migration import MigrationContext
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

import models
from database.server_info import ServerInfo, server_info
from database.settings import Settings, embedded_server, migration_url
from ddl import Declared, ledger
from models.shared.base import TIMESERIES
from operations import reference
from operations.owner import owner_engine
from operations.revisions.project import alembic_config


@dataclass(frozen=True)
class Summary:
    """What the database is now; counts are read from its catalog."""

    server: ServerInfo
    url: str
    revision: str | None
    tables: dict[str, int]
    """Domain to number of tables that exist."""
    isolated: dict[str, int]
    """Domain to number of those with row security forced."""
    hypertables: dict[str, int]
    """Domain to number of hypertables, which a tenant view isolates instead."""
    skipped: str
    """What the server's edition cannot do; empty where it can do all."""


def up(console: Console) -> None:
    """Start the embedded server if needed, upgrade, apply reference data, print a summary."""
    settings = Settings()
    begin = time.monotonic()
    if settings.database_url is None and settings.migration_database_url is None:
        server = embedded_server(settings)
        started = server.start()
        say = "Started the embedded PostgreSQL" if started else "The embedded PostgreSQL is running"
        console.print(f"{say} ({server.home})", soft_wrap=True, highlight=False)
    url = migration_url(settings)
    before = _revision_of(settings)
    console.print("Applying revisions")
    command.upgrade(alembic_config(), "head")
    with owner_engine() as engine:
        with engine.connect() as connection:
            after = MigrationContext.configure(connection).get_current_revision()
        if before == after:
            console.print(f"  nothing to do: the database is at the head, {after}")
        console.print("Applying reference data")
        report_reference(console, reference.apply(engine, say=console.print))
        print_summary(console, summarize(engine, _printable(url)))
    console.print(f"Done in {time.monotonic() - begin:.1f} s.", highlight=False)


def _printable(url: sa.URL) -> str:
    """The URL as psql and DATABASE_URL take it, without the password."""
    text = url.set(drivername="postgresql").render_as_string(hide_password=True)
    return text.replace("%2F", "/")


def _revision_of(settings: Settings) -> str | None:
    """The revision before the upgrade; None also for a database that does not exist yet."""
    engine = sa.create_engine(migration_url(settings), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except sa.exc.OperationalError:
        return None
    finally:
        engine.dispose()


def report_reference(console: Console, applied: list[reference.Applied]) -> None:
    """A line per subject that changed, or that nothing did."""
    changed = [entry for entry in applied if entry.changed]
    for entry in changed:
        console.print(f"  {entry.name}: {entry.changed} rows", highlight=False)
    if not changed:
        console.print("  nothing to do: all of it is there")


_TABLES = sa.text("""
SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname AS name,
       c.relrowsecurity AND c.relforcerowsecurity AS isolated
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (:schemas) AND c.relkind IN ('r', 'p')
""")


def summarize(engine: Engine, url: str) -> Summary:
    """Read what there is from the catalog."""
    with engine.connect() as connection:
        found = connection.execute(_TABLES, {"schemas": ["public", TIMESERIES]}).all()
        domains = {row.name: models.DOMAINS.get(row.name) for row in found}
        series = Declared.on(models.metadata).of("hypertable")
        return Summary(
            server=server_info(connection),
            url=url,
            revision=MigrationContext.configure(connection).get_current_revision(),
            tables=dict(Counter(domain for domain in domains.values() if domain)),
            isolated=dict(
                Counter(domain for row in found if row.isolated and (domain := domains[row.name]))
            ),
            hypertables=dict(
                Counter(
                    domain
                    for name, domain in domains.items()
                    if domain and tuple(name.split(".")) in series
                )
            ),
            skipped=ledger.skipped(connection),
        )


def print_summary(console: Console, summary: Summary) -> None:
    """Server, address, revision, tables by domain, what is missing, what to type next."""
    server = summary.server
    timescaledb = f", TimescaleDB {server.timescaledb}" if server.timescaledb else ""
    console.print()
    console.print(f"PostgreSQL {server.version}{timescaledb} (edition {server.edition})")
    console.print(f"URL        {summary.url}", soft_wrap=True, highlight=False)
    console.print(f"Revision   {summary.revision}", highlight=False)
    table = Table("Domain", "Tables", "Row security", "Time series", box=None, pad_edge=False)
    counts = (summary.tables, summary.isolated, summary.hypertables)
    for domain in sorted(summary.tables):
        table.add_row(domain, *(str(count.get(domain, 0)) for count in counts))
    table.add_row("all", *(str(sum(count.values())) for count in counts))
    console.print(table)
    if summary.skipped:
        console.print(f"Skipped    {summary.skipped}", soft_wrap=True, highlight=False)
    console.print(
        "Next       make demo (two tenants, thousands of devices), make test, make help; "
        "python -m operations admin create --email you@example.com",
        soft_wrap=True,
        highlight=False,
    )
