"""audit trails

Revision 0028, after 0027; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="When it happened."),
        sa.Column("id", sa.Uuid(), nullable=False, comment="Assigned by the sender, and the same on redelivery."),
        sa.Column("action", sa.Text(), nullable=False, comment="E.g. device.delete."),
        sa.Column("outcome", sa.Text(), server_default="success", nullable=False),
        sa.Column("category", sa.Text(), nullable=False, comment="Domain of the action, e.g. device."),
        sa.Column("severity", sa.Text(), server_default="info", nullable=False),
        sa.Column("actor_type", sa.Text(), server_default="system", nullable=False, comment="Who or what acted."),
        sa.Column("actor_id", sa.Text(), nullable=True, comment="Id of the user, API key, device or service."),
        sa.Column("actor_name", sa.Text(), nullable=True, comment="Name at the time."),
        sa.Column("entity_type", sa.Text(), nullable=True, comment="Type of the object of the action."),
        sa.Column("entity_id", sa.Text(), nullable=True),
        sa.Column("entity_name", sa.Text(), nullable=True, comment="Name at the time."),
        sa.Column("message", sa.Text(), nullable=True, comment="One sentence for people to read."),
        sa.Column("source_service", sa.Text(), nullable=True),
        sa.Column("ip_address", postgresql.INET(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True, comment="The same for all events of one request."),
        sa.Column("duration_ms", sa.Double(), nullable=True),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Additional data, e.g. values before and after."),
        sa.Column("recorded_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False,
            comment="When it was stored."),
        sa.CheckConstraint("action <> ''", name=op.f("ck_audit_events_action_not_empty")),
        sa.CheckConstraint("actor_type IN ('user', 'api_key', 'device', 'operator', 'system')",
            name=op.f("ck_audit_events_actor_type")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_audit_events_details_object")),
        sa.CheckConstraint("outcome IN ('success', 'failure', 'denied')", name=op.f("ck_audit_events_outcome")),
        sa.CheckConstraint("severity IN ('debug', 'info', 'warning', 'error', 'critical')",
            name=op.f("ck_audit_events_severity")),
        sa.PrimaryKeyConstraint("tenant_id", "ts", "id", name=op.f("pk_audit_events")),
        schema="timeseries",
        comment="Actions performed or denied in a tenant, and who requested them.",
    )
    op.create_index(
        op.f("ix_audit_events_actor_id"), "audit_events", ["tenant_id", "actor_id", sa.literal_column("ts DESC")],
        unique=False, schema="timeseries",
    )
    op.create_index(
        op.f("ix_audit_events_entity_type_entity_id"), "audit_events",
        ["tenant_id", "entity_type", "entity_id", sa.literal_column("ts DESC")], unique=False, schema="timeseries",
    )
    op.create_hypertable("audit_events", time_column="ts", chunk_interval="7 days", schema="timeseries")
    op.create_columnstore(
        "audit_events", segmentby="tenant_id", orderby="ts DESC,id", after="14 days", schema="timeseries",
    )
    op.create_retention_policy("audit_events", drop_after="400 days", schema="timeseries")
    op.create_view(
        "audit_events",
        (
            "SELECT tenant_id, ts, id, action, outcome, category, severity, actor_type, actor_id, actor_name,"
            " entity_type, entity_id, entity_name, message, source_service, ip_address, request_id, duration_ms,"
            " details, recorded_at\n"
            "  FROM timeseries.audit_events\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded",
        comment="Actions performed or denied in a tenant, and who requested them. Only rows of the current tenant.",
        grants={
            "fleet_app": "insert (action, actor_id, actor_name, actor_type, category, details, duration_ms, entity_id,"
                " entity_name, entity_type, id, ip_address, message, outcome, request_id, severity, source_service,"
                " tenant_id, ts), select",
        },
    )
    op.grant(
        "audit_events", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"},
        schema="timeseries",
    )


def downgrade() -> None:
    op.drop_view("audit_events")
    op.drop_hypertable("audit_events", schema="timeseries")
    op.drop_table("audit_events", schema="timeseries")
