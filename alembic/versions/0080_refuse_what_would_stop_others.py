"""refuse what would stop others

Revision 0080, after 0079; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0080"
down_revision = "0079"


def upgrade() -> None:
    op.add_constraint(
        "device_state_backlog", "ck_device_state_backlog_last_seen_as_sent_happened",
        "CHECK (isfinite(last_seen_as_sent) AND last_seen_as_sent <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_state_backlog", "ck_device_state_backlog_last_seen_at_happened",
        "CHECK (isfinite(last_seen_at) AND last_seen_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_state_backlog", "ck_device_state_backlog_last_telemetry_at_happened",
        "CHECK (isfinite(last_telemetry_at) AND last_telemetry_at <= now() + interval '1 day') NOT VALID",
    )
    op.add_constraint(
        "device_connection_events", "ck_device_connection_events_device_id_short",
        "CHECK (length(device_id) <= 255) NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "device_health_telemetry", "ck_device_health_telemetry_device_id_short",
        "CHECK (length(device_id) <= 255) NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "telemetry", "ck_telemetry_device_id_short", "CHECK (length(device_id) <= 255) NOT VALID", schema="timeseries",
    )
    op.add_constraint(
        "telemetry", "ck_telemetry_msg_type_short", "CHECK (length(msg_type) <= 255) NOT VALID", schema="timeseries",
    )
    op.replace_function(
        "fail_job", "of_tenant uuid, job uuid, worker text, reason text", returns="text", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE jobs\n"
            "     SET status = CASE WHEN attempts < max_attempts AND NOT cancellation_requested\n"
            "                       THEN 'queued' ELSE 'failed' END,\n"
            "         error = reason,\n"
            "         -- The delay doubles with each attempt: 30 s, 1 min, 2 min, up to an hour.\n"
            "         run_at = now() + least(interval '30 seconds' * power(2, least(attempts, 20) - 1),\n"
            "                                interval '1 hour'),\n"
            "         finished_at = CASE WHEN attempts < max_attempts AND NOT cancellation_requested\n"
            "                            THEN NULL ELSE now() END\n"
            "   WHERE tenant_id = of_tenant AND id = job AND status = 'running' AND worker_id = worker\n"
            "  RETURNING status;\n"
            "END"
        ),
        comment="Ends an attempt; returns queued (retried later) or failed (no attempts left), or NULL if the worker"
            " no longer holds the job.",
    )
    op.replace_function(
        "take_job", "worker text, types text[]", returns="SETOF jobs", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH lost AS (\n"
            "    UPDATE jobs j\n"
            "       SET status = CASE WHEN attempts < max_attempts AND NOT cancellation_requested\n"
            "                         THEN 'queued'\n"
            "                         WHEN cancellation_requested THEN 'cancelled' ELSE 'failed' END,\n"
            "           finished_at = CASE WHEN attempts < max_attempts AND NOT cancellation_requested\n"
            "                              THEN NULL ELSE now() END,\n"
            "           error = 'no heartbeat of its worker for more than 5 minutes'\n"
            "     WHERE (tenant_id, id) IN (\n"
            "             SELECT tenant_id, id FROM jobs\n"
            "              WHERE status = 'running'\n"
            "                AND last_heartbeat_at < now() - interval '5 minutes'\n"
            "                FOR NO KEY UPDATE SKIP LOCKED)\n"
            "  )\n"
            "  UPDATE jobs j\n"
            "     SET status = 'running', worker_id = worker, attempts = attempts + 1,\n"
            "         started_at = now(), last_heartbeat_at = now()\n"
            "   WHERE (tenant_id, id) = (\n"
            "           SELECT tenant_id, id FROM jobs\n"
            "            WHERE status = 'queued' AND run_at <= now() AND type = ANY (types)\n"
            "              AND NOT cancellation_requested AND attempts < max_attempts\n"
            "            ORDER BY run_at LIMIT 1\n"
            "              FOR NO KEY UPDATE SKIP LOCKED)\n"
            "  RETURNING j.*;\n"
            "END"
        ),
        comment="Assigns the job that has been due longest to a worker and returns it; no row if none is due. Requeues"
            " jobs of lost workers, for the next call.",
    )


def downgrade() -> None:
    op.replace_function(
        "take_job", "worker text, types text[]", returns="SETOF public.jobs", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            " WITH lost AS (\n"
            "          UPDATE public.jobs j_1 SET status =\n"
            "                 CASE\n"
            "                     WHEN ((j_1.attempts < j_1.max_attempts) AND (NOT j_1.cancellation_requested)) THEN"
            " 'queued'::text\n"
            "                     WHEN j_1.cancellation_requested THEN 'cancelled'::text\n"
            "                     ELSE 'failed'::text\n"
            "                 END, finished_at =\n"
            "                 CASE\n"
            "                     WHEN ((j_1.attempts < j_1.max_attempts) AND (NOT j_1.cancellation_requested)) THEN"
            " NULL::timestamp with time zone\n"
            "                     ELSE now()\n"
            "                 END, error = 'no heartbeat of its worker for more than 5 minutes'::text\n"
            "           WHERE ((j_1.tenant_id, j_1.id) IN ( SELECT jobs.tenant_id,\n"
            "                     jobs.id\n"
            "                    FROM public.jobs\n"
            "                   WHERE ((jobs.status = 'running'::text) AND (jobs.last_heartbeat_at < (now() -"
            " '00:05:00'::interval)))\n"
            "                  FOR NO KEY UPDATE OF jobs SKIP LOCKED))\n"
            "         )\n"
            "  UPDATE public.jobs j SET status = 'running'::text, worker_id = take_job.worker, attempts = (j.attempts"
            " + 1), started_at = now(), last_heartbeat_at = now()\n"
            "   WHERE ((j.tenant_id, j.id) = ( SELECT jobs.tenant_id,\n"
            "             jobs.id\n"
            "            FROM public.jobs\n"
            "           WHERE ((jobs.status = 'queued'::text) AND (jobs.run_at <= now()) AND (jobs.type = ANY"
            " (take_job.types)) AND (NOT jobs.cancellation_requested))\n"
            "           ORDER BY jobs.run_at\n"
            "          LIMIT 1\n"
            "          FOR NO KEY UPDATE OF jobs SKIP LOCKED))\n"
            "   RETURNING j.tenant_id,\n"
            "     j.id,\n"
            "     j.type,\n"
            "     j.status,\n"
            "     j.params,\n"
            "     j.progress,\n"
            "     j.result,\n"
            "     j.error,\n"
            "     j.run_at,\n"
            "     j.attempts,\n"
            "     j.max_attempts,\n"
            "     j.worker_id,\n"
            "     j.last_heartbeat_at,\n"
            "     j.cancellation_requested,\n"
            "     j.created_by,\n"
            "     j.started_at,\n"
            "     j.finished_at,\n"
            "     j.created_at,\n"
            "     j.updated_at;\n"
            "END"
        ),
        comment="Assigns the job that has been due longest to a worker and returns it; no row if none is due. Requeues"
            " jobs of lost workers, for the next call.",
    )
    op.replace_function(
        "fail_job", "of_tenant uuid, job uuid, worker text, reason text", returns="text", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            " UPDATE public.jobs SET status =\n"
            "         CASE\n"
            "             WHEN ((jobs.attempts < jobs.max_attempts) AND (NOT jobs.cancellation_requested)) THEN"
            " 'queued'::text\n"
            "             ELSE 'failed'::text\n"
            "         END, error = fail_job.reason, run_at = (now() + LEAST(('00:00:30'::interval * power((2)::double"
            " precision, ((jobs.attempts - 1))::double precision)), '01:00:00'::interval)), finished_at =\n"
            "         CASE\n"
            "             WHEN ((jobs.attempts < jobs.max_attempts) AND (NOT jobs.cancellation_requested)) THEN"
            " NULL::timestamp with time zone\n"
            "             ELSE now()\n"
            "         END\n"
            "   WHERE ((jobs.tenant_id = fail_job.of_tenant) AND (jobs.id = fail_job.job) AND (jobs.status ="
            " 'running'::text) AND (jobs.worker_id = fail_job.worker))\n"
            "   RETURNING jobs.status;\n"
            "END"
        ),
        comment="Ends an attempt; returns queued (retried later) or failed (no attempts left), or NULL if the worker"
            " no longer holds the job.",
    )
    op.remove_constraint("telemetry", "ck_telemetry_msg_type_short", schema="timeseries")
    op.remove_constraint("telemetry", "ck_telemetry_device_id_short", schema="timeseries")
    op.remove_constraint("device_health_telemetry", "ck_device_health_telemetry_device_id_short", schema="timeseries")
    op.remove_constraint("device_connection_events", "ck_device_connection_events_device_id_short", schema="timeseries")
    op.remove_constraint("device_state_backlog", "ck_device_state_backlog_last_telemetry_at_happened")
    op.remove_constraint("device_state_backlog", "ck_device_state_backlog_last_seen_at_happened")
    op.remove_constraint("device_state_backlog", "ck_device_state_backlog_last_seen_as_sent_happened")
