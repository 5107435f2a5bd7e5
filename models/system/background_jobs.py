"""Background jobs: a queue in the database, taken by workers one job at a time."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function
from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    NOW,
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    json_value,
    not_empty,
    one_of,
    readable,
    readable_json,
    tenant_reference,
)
from models.shared.change_notifications import change_notifications
from models.shared.secrets import no_password
from models.shared.status_transitions import status_transitions

STEPS = {
    "queued": ("running", "cancelled"),
    "running": ("queued", "succeeded", "failed", "cancelled"),
}
"""Allowed status transitions. Back to queued: to be retried, or because the worker was lost."""

LOST_AFTER = "5 minutes"
"""A worker without a heartbeat for this long is considered lost, and its job can be taken."""


class Job(TenantScoped, Identified, Timestamped, Base):
    """A task to be done in the background; those of the platform belong to its own tenant."""

    __tablename__ = "jobs"
    # How far it has come is for its worker to say.
    __app_privileges__ = (
        "select, insert (tenant_id, id, type, params, run_at, max_attempts, created_by),"
        " update (cancellation_requested)"
    )

    type: Mapped[str] = mapped_column(comment="Selects the workers that can take it.")
    status: Mapped[str] = mapped_column(server_default="queued")
    params: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Input for the worker."
    )
    progress: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Progress, for people who wait."
    )
    result: Mapped[dict[str, Any] | None] = mapped_column(comment="Output of the worker.")
    error: Mapped[str | None] = mapped_column(comment="Error message of the last failed attempt.")
    run_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="Not started before this."
    )
    attempts: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Number of attempts started."
    )
    max_attempts: Mapped[int] = mapped_column(server_default=text("1"))
    worker_id: Mapped[str | None] = mapped_column(
        comment="The worker that holds it, or held it last."
    )
    last_heartbeat_at: Mapped[datetime.datetime | None] = mapped_column(
        comment=f"Older than {LOST_AFTER}: the worker is lost."
    )
    cancellation_requested: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="The worker sees this at its next heartbeat."
    )
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the job outlives the account."
    )
    started_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Start of the last attempt."
    )
    finished_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        Index(None, "type", "run_at", postgresql_where=text("status = 'queued'")),
        Index(None, "last_heartbeat_at", postgresql_where=text("status = 'running'")),
        Index(None, "tenant_id", "status", "created_at"),
        not_empty("type"),
        one_of("status", ("queued", "running", "succeeded", "failed", "cancelled")),
        json_object("params"),
        json_object("progress"),
        json_object("result"),
        CheckConstraint("attempts BETWEEN 0 AND max_attempts", name="attempts"),
        CheckConstraint(
            "max_attempts BETWEEN 1 AND 1000", name="max_attempts", postgresql_not_valid=True
        ),
        # take_job() returns them.
        *(readable("run_at"), readable_json("params", 1_048_576)),
        CheckConstraint(
            "(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name="finished_at",
        ),
        CheckConstraint(
            "status <> 'running' OR num_nulls(worker_id, started_at, last_heartbeat_at) = 0",
            name="running",
        ),
        status_transitions("jobs", STEPS),
        *change_notifications("jobs", "status, run_at, cancellation_requested"),
        {"comment": "Background jobs; those for devices are in device_jobs."},
    )


_WORKERS = {"fleet_operator": "execute"}

Function(
    "take_job",
    "worker text, types text[]",
    returns="SETOF jobs",
    body=f"""
        BEGIN ATOMIC
          WITH lost AS (
            UPDATE jobs j
               SET status = CASE WHEN attempts < max_attempts AND NOT cancellation_requested
                                 THEN 'queued'
                                 WHEN cancellation_requested THEN 'cancelled' ELSE 'failed' END,
                   finished_at = CASE WHEN attempts < max_attempts AND NOT cancellation_requested
                                      THEN NULL ELSE now() END,
                   error = 'no heartbeat of its worker for more than {LOST_AFTER}'
             WHERE (tenant_id, id) IN (
                     SELECT tenant_id, id FROM jobs
                      WHERE status = 'running'
                        AND last_heartbeat_at < now() - interval '{LOST_AFTER}'
                        FOR NO KEY UPDATE SKIP LOCKED)
          )
          UPDATE jobs j
             SET status = 'running', worker_id = worker, attempts = attempts + 1,
                 started_at = now(), last_heartbeat_at = now()
           WHERE (tenant_id, id) = (
                   SELECT tenant_id, id FROM jobs
                    WHERE status = 'queued' AND run_at <= now() AND type = ANY (types)
                      AND NOT cancellation_requested AND attempts < max_attempts
                    ORDER BY run_at LIMIT 1
                      FOR NO KEY UPDATE SKIP LOCKED)
          RETURNING j.*;
        END
    """,
    grants=_WORKERS,
    comment="Assigns the job that has been due longest to a worker and returns it; no row if none "
    "is due. Requeues jobs of lost workers, for the next call.",
    metadata=Base.metadata,
)

Function(
    "beat_job",
    "of_tenant uuid, job uuid, worker text, so_far jsonb DEFAULT NULL",
    returns="boolean",
    body="""
        BEGIN ATOMIC
          UPDATE jobs SET last_heartbeat_at = now(), progress = coalesce(so_far, progress)
           WHERE tenant_id = of_tenant AND id = job AND status = 'running' AND worker_id = worker
          RETURNING NOT cancellation_requested;
        END
    """,
    grants=_WORKERS,
    comment="Heartbeat of a worker. Returns true to continue, false if cancellation was requested, "
    "NULL if the worker no longer holds the job.",
    metadata=Base.metadata,
)

Function(
    "finish_job",
    "of_tenant uuid, job uuid, worker text, outcome jsonb DEFAULT NULL",
    returns="boolean",
    body="""
        BEGIN ATOMIC
          UPDATE jobs
             SET status = CASE WHEN cancellation_requested AND outcome IS NULL THEN 'cancelled'
                               ELSE 'succeeded' END,
                 result = outcome, error = NULL, finished_at = now()
           WHERE tenant_id = of_tenant AND id = job AND status = 'running' AND worker_id = worker
          RETURNING true;
        END
    """,
    grants=_WORKERS,
    comment="Ends a job as succeeded, or as cancelled if that was requested and there is no "
    "outcome; NULL if the worker no longer holds it.",
    metadata=Base.metadata,
)

Function(
    "fail_job",
    "of_tenant uuid, job uuid, worker text, reason text",
    returns="text",
    body="""
        BEGIN ATOMIC
          UPDATE jobs
             SET status = CASE WHEN attempts < max_attempts AND NOT cancellation_requested
                               THEN 'queued' ELSE 'failed' END,
                 error = reason,
                 -- The delay doubles with each attempt: 30 s, 1 min, 2 min, up to an hour.
                 run_at = now() + least(interval '30 seconds' * power(2, least(attempts, 20) - 1),
                                        interval '1 hour'),
                 finished_at = CASE WHEN attempts < max_attempts AND NOT cancellation_requested
                                    THEN NULL ELSE now() END
           WHERE tenant_id = of_tenant AND id = job AND status = 'running' AND worker_id = worker
          RETURNING status;
        END
    """,
    grants=_WORKERS,
    comment="Ends an attempt; returns queued (retried later) or failed (no attempts left), or NULL "
    "if the worker no longer holds the job.",
    metadata=Base.metadata,
)


class ExportJob(TenantScoped, Identified, Timestamped, Base):
    """A requested export to a file."""

    __tablename__ = "export_jobs"

    job_id: Mapped[uuid.UUID | None] = mapped_column(comment="The background job that creates it.")
    export_type: Mapped[str]
    format: Mapped[str] = mapped_column(server_default="csv")
    filters: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Which rows to export."
    )
    status: Mapped[str] = mapped_column(server_default="pending")
    file_path: Mapped[str | None] = mapped_column(comment="Location in the object store.")
    file_size_bytes: Mapped[int | None]
    row_count: Mapped[int | None]
    error: Mapped[str | None]
    callback_url: Mapped[str | None] = mapped_column(comment="Called when the file is ready.")
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the export outlives the account."
    )
    started_at: Mapped[datetime.datetime | None]
    completed_at: Mapped[datetime.datetime | None]
    expires_at: Mapped[datetime.datetime] = mapped_column(
        server_default=text("(now() + '24:00:00'::interval)"), comment="When the file is deleted."
    )

    __table_args__ = (
        tenant_reference("job_id", "jobs", "id", on_delete="set null"),
        Index(None, "tenant_id", "job_id"),
        Index(None, "tenant_id", text("created_at DESC")),
        Index(None, "expires_at"),
        one_of(
            "export_type",
            ("devices", "alerts", "telemetry", "tag_values", "incidents", "audit_events"),
        ),
        one_of("format", ("csv", "json")),
        one_of("status", ("pending", "processing", "completed", "failed")),
        json_object("filters"),
        CheckConstraint("file_size_bytes >= 0 AND row_count >= 0", name="sizes"),
        CheckConstraint("status <> 'completed' OR file_path IS NOT NULL", name="file"),
        status_transitions(
            "export_jobs",
            {"pending": ("processing", "failed"), "processing": ("completed", "failed", "pending")},
        ),
        no_password("callback_url", later=True),
        {"comment": "Requested exports."},
    )


class ReportRun(TenantScoped, Identified, Timestamped, Base):
    """A run of a report."""

    __tablename__ = "report_runs"

    report_type: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    triggered_by: Mapped[str | None] = mapped_column(comment="A user, or a schedule.")
    parameters: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="E.g. site and month."
    )
    summary: Mapped[dict[str, Any] | None] = mapped_column(comment="Key figures of the result.")
    row_count: Mapped[int | None]
    error: Mapped[str | None]
    completed_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        Index(None, "tenant_id", text("created_at DESC")),
        not_empty("report_type"),
        one_of("status", ("pending", "running", "completed", "failed")),
        json_object("parameters"),
        json_value("summary"),
        CheckConstraint("row_count >= 0", name="row_count"),
        status_transitions(
            "report_runs",
            {"pending": ("running", "failed"), "running": ("completed", "failed", "pending")},
        ),
        {"comment": "Runs of reports."},
    )
