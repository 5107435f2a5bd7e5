"""device commands and jobs

Revision 0010, after 0009; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "device_commands",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("command_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("command_type", sa.Text(), nullable=False, comment="template_commands.command_key, or another name."),
        sa.Column("command_params", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="According to template_commands.parameters_schema."),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False,
            comment="missed: sent while the device was offline; expired: never sent."),
        sa.Column("published_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("acked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ack_details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Answer of the device."),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now() + interval '1 hour'"),
            nullable=False, comment="Defaults to one hour after creation."),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the command outlives the account."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("command_type <> ''", name=op.f("ck_device_commands_command_type_not_empty")),
        sa.CheckConstraint("jsonb_typeof(ack_details) = 'object'", name=op.f("ck_device_commands_ack_details_object")),
        sa.CheckConstraint("jsonb_typeof(command_params) = 'object'",
            name=op.f("ck_device_commands_command_params_object")),
        sa.CheckConstraint("status IN ('queued', 'delivered', 'missed', 'expired')",
            name=op.f("ck_device_commands_status")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_device_commands_expires_at")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_commands_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_commands_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "command_id", name=op.f("pk_device_commands")),
        comment="Commands sent to devices.",
    )
    op.create_index(
        op.f("ix_device_commands_device_id_created_at"), "device_commands", ["tenant_id", "device_id", "created_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_device_commands_expires_at"), "device_commands", ["expires_at"], unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_device_commands_queued", "device_commands", ["tenant_id", "device_id"], unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_trigger("set_updated_at", "device_commands", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_commands", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_jobs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("document_type", sa.Text(), nullable=False, comment="Kind of task, as the devices name it."),
        sa.Column("document_params", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Parameters of the task."),
        sa.Column("target_device_id", sa.Text(), nullable=True,
            comment="Exactly one of the three targets is set; the job is deleted with its target."),
        sa.Column("target_group_id", sa.Uuid(), nullable=True),
        sa.Column("target_all", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("status", sa.Text(), server_default="in_progress", nullable=False,
            comment="Status of the whole job; device_job_executions has it per device."),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the job outlives the account."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("document_type <> ''", name=op.f("ck_device_jobs_document_type_not_empty")),
        sa.CheckConstraint("jsonb_typeof(document_params) = 'object'",
            name=op.f("ck_device_jobs_document_params_object")),
        sa.CheckConstraint("status IN ('in_progress', 'completed', 'canceled', 'deletion_in_progress')",
            name=op.f("ck_device_jobs_status")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_device_jobs_expires_at")),
        sa.CheckConstraint("num_nonnulls(target_device_id, target_group_id) + target_all::integer = 1",
            name=op.f("ck_device_jobs_one_target")),
        sa.ForeignKeyConstraint(["tenant_id", "target_device_id"],
            ["device_registry.tenant_id", "device_registry.device_id"], name=op.f("fk_device_jobs_target_device_id"),
            ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "target_group_id"], ["device_groups.tenant_id", "device_groups.group_id"],
            name=op.f("fk_device_jobs_target_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_jobs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name=op.f("pk_device_jobs")),
        comment="Jobs for devices; background jobs are in jobs.",
    )
    op.create_index(
        op.f("ix_device_jobs_expires_at"), "device_jobs", ["expires_at"], unique=False,
        postgresql_where=sa.text("status = 'in_progress'"),
    )
    op.create_index(op.f("ix_device_jobs_status"), "device_jobs", ["tenant_id", "status"], unique=False)
    op.create_index(
        op.f("ix_device_jobs_target_device_id"), "device_jobs", ["tenant_id", "target_device_id"], unique=False,
    )
    op.create_index(
        op.f("ix_device_jobs_target_group_id"), "device_jobs", ["tenant_id", "target_group_id"], unique=False,
    )
    op.create_trigger("set_updated_at", "device_jobs", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "device_jobs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_job_executions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False,
            comment="rejected: by the device; timed_out: the device did not answer."),
        sa.Column("status_details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Details from the device."),
        sa.Column("execution_number", sa.BigInteger(), server_default=sa.text("1"), nullable=False,
            comment="Number of the attempt."),
        sa.Column("queued_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(status_details) = 'object'",
            name=op.f("ck_device_job_executions_status_details_object")),
        sa.CheckConstraint("status IN ('queued', 'in_progress', 'succeeded', 'failed', 'timed_out', 'rejected')",
            name=op.f("ck_device_job_executions_status")),
        sa.CheckConstraint("execution_number > 0", name=op.f("ck_device_job_executions_execution_number")),
        sa.CheckConstraint("finished_at >= queued_at", name=op.f("ck_device_job_executions_finished_at")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_job_executions_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["device_jobs.tenant_id", "device_jobs.job_id"],
            name=op.f("fk_device_job_executions_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_job_executions_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "device_id", name=op.f("pk_device_job_executions")),
        comment="Executions of jobs, per device.",
    )
    op.create_index(
        op.f("ix_device_job_executions_device_id"), "device_job_executions", ["tenant_id", "device_id"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "device_job_executions", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_job_executions", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("device_job_executions")
    op.drop_table("device_jobs")
    op.drop_table("device_commands")
