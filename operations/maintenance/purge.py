"""Rows of ordinary tables that are no longer needed: queues, caches, counters, logs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import models
from database.errors import is_busy
from database.tenancy import OPERATOR
from operations.owner import acting_as

BATCH = 10_000
"""Rows of one transaction."""

PURGED: dict[str, tuple[str, str]] = {
    "rate_limits": ("window_start < now() - interval '1 day'", "windows that have ended"),
    "jobs": ("finished_at < now() - interval '30 days'", "finished 30 days ago"),
    "export_jobs": ("expires_at < now() - interval '1 day'", "expired"),
    "report_runs": ("completed_at < now() - interval '400 days'", "completed 400 days ago"),
    "notification_jobs": (
        "status IN ('completed', 'failed') AND updated_at < now() - interval '90 days'",
        "ended 90 days ago",
    ),
    "dead_letter_messages": ("created_at < now() - interval '90 days'", "90 days old"),
    "eip_tag_cache": ("cached_at < now() - interval '1 day'", "cached a day ago"),
    "eip_device_cache": ("last_seen_at < now() - interval '90 days'", "not seen for 90 days"),
    "dependency_suggestions": (
        "status = 'pending' AND expires_at < now()",
        "expired without an answer",
    ),
    "subscription_notifications": (
        "status IN ('sent', 'cancelled') AND updated_at < now() - interval '90 days'",
        "ended 90 days ago",
    ),
    "stripe_events": ("processed_at < now() - interval '400 days'", "processed 400 days ago"),
    "maintenance_log": ("completed_at < now() - interval '400 days'", "400 days old"),
}
"""Table to the condition of the rows to delete, and the reason as text."""


def count(engine: Engine, relation: str) -> int:
    """How many rows a purge would delete."""
    condition, _ = PURGED[relation]
    with acting_as(engine, OPERATOR) as connection:
        query = sa.text(f"SELECT count(*) FROM public.{relation} WHERE {condition}")
        found: int = connection.execute(query).scalar_one()
    return found


def delete(engine: Engine, relation: str) -> Iterator[int]:
    """Delete the rows as fleet_operator; yields how many after each commit.

    Rows that a transaction holds are left for the next run. A row may also be held through one that
    refers to it: then each tenant's are deleted apart, so that only that tenant's are left.

    Raises:
        DBAPIError: the last timeout, after the rows of all other tenants are deleted.
    """
    try:
        yield from _delete(engine, relation)
    except DBAPIError as error:
        if not is_busy(error) or "tenant_id" not in models.metadata.tables[relation].columns:
            raise
    else:
        return
    held = None
    for tenant_id in _tenants(engine, relation):
        try:
            yield from _delete(engine, relation, tenant_id)
        except DBAPIError as error:
            if not is_busy(error):
                raise
            held = error
    if held is not None:
        raise held


def _delete(engine: Engine, relation: str, tenant_id: uuid.UUID | None = None) -> Iterator[int]:
    condition, _ = PURGED[relation]
    only = "" if tenant_id is None else "tenant_id = :tenant AND "
    old = (
        f"SELECT ctid FROM public.{relation} WHERE {only}{condition}"
        f" LIMIT {BATCH} FOR UPDATE SKIP LOCKED"
    )
    statement = sa.text(f"DELETE FROM public.{relation} WHERE ctid = ANY (ARRAY({old}))")
    rows = BATCH
    while rows == BATCH:
        with acting_as(engine, OPERATOR) as connection:
            rows = connection.execute(statement, {"tenant": tenant_id} if only else {}).rowcount
        yield rows


def _tenants(engine: Engine, relation: str) -> list[uuid.UUID]:
    condition, _ = PURGED[relation]
    query = f"SELECT DISTINCT tenant_id FROM public.{relation} WHERE {condition}"
    with acting_as(engine, OPERATOR) as connection:
        return list(connection.scalars(sa.text(query)))


def log(connection: Connection, rows: int, problems: list[str]) -> None:
    """Record a finished run in maintenance_log; the connection acts as fleet_operator."""
    connection.execute(
        sa.text("""
            INSERT INTO public.maintenance_log
                   (job_name, status, completed_at, rows_affected, error)
            VALUES ('maintain', :status, now(), :rows, :error)
        """),
        {
            "status": "failed" if problems else "completed",
            "rows": rows,
            "error": "\n".join(problems) or None,
        },
    )
