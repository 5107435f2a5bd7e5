"""background jobs

Revision 0013, after 0012; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False, comment="Selects the workers that can take it."),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("params", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Input for the worker."),
        sa.Column("progress", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Progress, for people who wait."),
        sa.Column("result", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Output of the worker."),
        sa.Column("error", sa.Text(), nullable=True, comment="Error message of the last failed attempt."),
        sa.Column("run_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False,
            comment="Not started before this."),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Number of attempts started."),
        sa.Column("max_attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=True, comment="The worker that holds it, or held it last."),
        sa.Column("last_heartbeat_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Older than 5 minutes: the worker is lost."),
        sa.Column("cancellation_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="The worker sees this at its next heartbeat."),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the job outlives the account."),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="Start of the last attempt."),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_finished_at")),
        sa.CheckConstraint("jsonb_typeof(params) = 'object'", name=op.f("ck_jobs_params_object")),
        sa.CheckConstraint("jsonb_typeof(progress) = 'object'", name=op.f("ck_jobs_progress_object")),
        sa.CheckConstraint("jsonb_typeof(result) = 'object'", name=op.f("ck_jobs_result_object")),
        sa.CheckConstraint("status <> 'running' OR num_nulls(worker_id, started_at, last_heartbeat_at) = 0",
            name=op.f("ck_jobs_running")),
        sa.CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_status")),
        sa.CheckConstraint("type <> ''", name=op.f("ck_jobs_type_not_empty")),
        sa.CheckConstraint("attempts BETWEEN 0 AND max_attempts", name=op.f("ck_jobs_attempts")),
        sa.CheckConstraint("max_attempts > 0", name=op.f("ck_jobs_max_attempts")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_jobs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_jobs")),
        comment="Background jobs; those for devices are in device_jobs.",
    )
    op.create_index(
        op.f("ix_jobs_last_heartbeat_at"), "jobs", ["last_heartbeat_at"], unique=False,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(op.f("ix_jobs_status_created_at"), "jobs", ["tenant_id", "status", "created_at"], unique=False)
    op.create_index(
        op.f("ix_jobs_type_run_at"), "jobs", ["type", "run_at"], unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_trigger(
        "jobs_status_transitions", "jobs", "before", "update of status", level="row",
        function="check_status_transition('queued > running', 'queued > cancelled', 'running > queued', 'running >"
            " succeeded', 'running > failed', 'running > cancelled')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger(
        "notify_jobs_of_delete", "jobs", "after", "delete", level="statement",
        function="notify_tenants('jobs', 'status, run_at, cancellation_requested')", old_table="old_rows",
    )
    op.create_trigger(
        "notify_jobs_of_insert", "jobs", "after", "insert", level="statement",
        function="notify_tenants('jobs', 'status, run_at, cancellation_requested')", new_table="new_rows",
    )
    op.create_trigger(
        "notify_jobs_of_update", "jobs", "after", "update", level="statement",
        function="notify_tenants('jobs', 'status, run_at, cancellation_requested')", old_table="old_rows",
        new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "jobs", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "jobs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "insert, select, update (cancellation_requested)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "report_runs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("report_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("triggered_by", sa.Text(), nullable=True, comment="A user, or a schedule."),
        sa.Column("parameters", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="E.g. site and month."),
        sa.Column("summary", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Key figures of the result."),
        sa.Column("row_count", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(parameters) = 'object'", name=op.f("ck_report_runs_parameters_object")),
        sa.CheckConstraint("jsonb_typeof(summary) <> 'null'", name=op.f("ck_report_runs_summary_value")),
        sa.CheckConstraint("report_type <> ''", name=op.f("ck_report_runs_report_type_not_empty")),
        sa.CheckConstraint("status IN ('pending', 'running', 'completed', 'failed')",
            name=op.f("ck_report_runs_status")),
        sa.CheckConstraint("row_count >= 0", name=op.f("ck_report_runs_row_count")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_report_runs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_report_runs")),
        comment="Runs of reports.",
    )
    op.create_index(
        op.f("ix_report_runs_tenant_id"), "report_runs", ["tenant_id", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_trigger(
        "report_runs_status_transitions", "report_runs", "before", "update of status", level="row",
        function="check_status_transition('pending > running', 'pending > failed', 'running > completed', 'running >"
            " failed', 'running > pending')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger("set_updated_at", "report_runs", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "report_runs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "export_jobs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True, comment="The background job that creates it."),
        sa.Column("export_type", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), server_default="csv", nullable=False),
        sa.Column("filters", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Which rows to export."),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("file_path", sa.Text(), nullable=True, comment="Location in the object store."),
        sa.Column("file_size_bytes", sa.Integer(), nullable=True),
        sa.Column("row_count", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("callback_url", sa.Text(), nullable=True, comment="Called when the file is ready."),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the export outlives the account."),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("(now() + '24:00:00'::interval)"),
            nullable=False, comment="When the file is deleted."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("export_type IN ('devices', 'alerts', 'telemetry', 'tag_values', 'incidents', 'audit_events')",
            name=op.f("ck_export_jobs_export_type")),
        sa.CheckConstraint("format IN ('csv', 'json')", name=op.f("ck_export_jobs_format")),
        sa.CheckConstraint("jsonb_typeof(filters) = 'object'", name=op.f("ck_export_jobs_filters_object")),
        sa.CheckConstraint("status <> 'completed' OR file_path IS NOT NULL", name=op.f("ck_export_jobs_file")),
        sa.CheckConstraint("status IN ('pending', 'processing', 'completed', 'failed')",
            name=op.f("ck_export_jobs_status")),
        sa.CheckConstraint("file_size_bytes >= 0 AND row_count >= 0", name=op.f("ck_export_jobs_sizes")),
        sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"],
            name=op.f("fk_export_jobs_job_id"), ondelete="SET NULL (job_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_export_jobs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_export_jobs")),
        comment="Requested exports.",
    )
    op.create_index(op.f("ix_export_jobs_expires_at"), "export_jobs", ["expires_at"], unique=False)
    op.create_index(op.f("ix_export_jobs_job_id"), "export_jobs", ["tenant_id", "job_id"], unique=False)
    op.create_index(
        op.f("ix_export_jobs_tenant_id"), "export_jobs", ["tenant_id", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_trigger(
        "export_jobs_status_transitions", "export_jobs", "before", "update of status", level="row",
        function="check_status_transition('pending > processing', 'pending > failed', 'processing > completed',"
            " 'processing > failed', 'processing > pending')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger("set_updated_at", "export_jobs", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "export_jobs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_function(
        "beat_job", "of_tenant uuid, job uuid, worker text, so_far jsonb DEFAULT NULL", returns="boolean",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE jobs SET last_heartbeat_at = now(), progress = coalesce(so_far, progress)\n"
            "   WHERE tenant_id = of_tenant AND id = job AND status = 'running' AND worker_id = worker\n"
            "  RETURNING NOT cancellation_requested;\n"
            "END"
        ),
        comment="Heartbeat of a worker. Returns true to continue, false if cancellation was requested, NULL if the"
            " worker no longer holds the job.",
        grants={"fleet_operator": "execute"},
    )
    op.create_function(
        "fail_job", "of_tenant uuid, job uuid, worker text, reason text", returns="text", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE jobs\n"
            "     SET status = CASE WHEN attempts < max_attempts AND NOT cancellation_requested\n"
            "                       THEN 'queued' ELSE 'failed' END,\n"
            "         error = reason,\n"
            "         -- The delay doubles with each attempt: 30 s, 1 min, 2 min, up to an hour.\n"
            "         run_at = now() + least(interval '30 seconds' * power(2, attempts - 1),\n"
            "                                interval '1 hour'),\n"
            "         finished_at = CASE WHEN attempts < max_attempts AND NOT cancellation_requested\n"
            "                            THEN NULL ELSE now() END\n"
            "   WHERE tenant_id = of_tenant AND id = job AND status = 'running' AND worker_id = worker\n"
            "  RETURNING status;\n"
            "END"
        ),
        comment="Ends an attempt; returns queued (retried later) or failed (no attempts left), or NULL if the worker"
            " no longer holds the job.",
        grants={"fleet_operator": "execute"},
    )
    op.create_function(
        "finish_job", "of_tenant uuid, job uuid, worker text, outcome jsonb DEFAULT NULL", returns="boolean",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE jobs\n"
            "     SET status = CASE WHEN cancellation_requested AND outcome IS NULL THEN 'cancelled'\n"
            "                       ELSE 'succeeded' END,\n"
            "         result = outcome, error = NULL, finished_at = now()\n"
            "   WHERE tenant_id = of_tenant AND id = job AND status = 'running' AND worker_id = worker\n"
            "  RETURNING true;\n"
            "END"
        ),
        comment="Ends a job as succeeded, or as cancelled if that was requested and there is no outcome; NULL if the"
            " worker no longer holds it.",
        grants={"fleet_operator": "execute"},
    )
    op.create_function(
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
            "              AND NOT cancellation_requested\n"
            "            ORDER BY run_at LIMIT 1\n"
            "              FOR NO KEY UPDATE SKIP LOCKED)\n"
            "  RETURNING j.*;\n"
            "END"
        ),
        comment="Assigns the job that has been due longest to a worker and returns it; no row if none is due. Requeues"
            " jobs of lost workers, for the next call.",
        grants={"fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function("take_job", "worker text, types text[]")
    op.drop_function("finish_job", "of_tenant uuid, job uuid, worker text, outcome jsonb")
    op.drop_function("fail_job", "of_tenant uuid, job uuid, worker text, reason text")
    op.drop_function("beat_job", "of_tenant uuid, job uuid, worker text, so_far jsonb")
    op.drop_table("export_jobs")
    op.drop_table("report_runs")
    op.drop_table("jobs")
