"""quarantine

Revision 0019, after 0018; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "quarantine_events",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False,
            comment="When the broker received it; with id the same on redelivery."),
        sa.Column("id", sa.Uuid(), nullable=False, comment="Derived from a hash of the message."),
        sa.Column("reason", sa.Text(), nullable=False, comment="A keyword, e.g. unknown_device."),
        sa.Column("detail", sa.Text(), nullable=True, comment="What was expected, and what was found."),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("claimed_tenant", sa.Text(), nullable=True, comment="As given in the message."),
        sa.Column("device_id", sa.Text(), nullable=True, comment="As given in the message."),
        sa.Column("site_id", sa.Text(), nullable=True, comment="As given in the message."),
        sa.Column("msg_type", sa.Text(), nullable=True),
        sa.Column("event_ts", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="When it was measured, according to the device."),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="The message, if it is JSON."),
        sa.Column("payload_raw", sa.LargeBinary(), nullable=True,
            comment="The message, if it is not JSON that can be stored."),
        sa.Column("envelope_version", sa.Text(), server_default="1", nullable=False),
        sa.Column("ingested_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(payload) <> 'null'", name=op.f("ck_quarantine_events_payload_value")),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_quarantine_events_reason_not_empty")),
        sa.PrimaryKeyConstraint("tenant_id", "ts", "id", name=op.f("pk_quarantine_events")),
        schema="timeseries",
        comment="Rejected messages, as received.",
    )
    op.create_hypertable("quarantine_events", time_column="ts", chunk_interval="1 day", schema="timeseries")
    op.create_columnstore(
        "quarantine_events", segmentby="tenant_id", orderby="ts DESC,id", after="7 days", schema="timeseries",
    )
    op.create_retention_policy("quarantine_events", drop_after="30 days", schema="timeseries")
    op.create_view(
        "quarantine_events",
        (
            "SELECT tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id, site_id, msg_type, event_ts,"
            " payload, payload_raw, envelope_version, ingested_at\n"
            "  FROM timeseries.quarantine_events\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded", comment="Rejected messages, as received. Only rows of the current tenant.",
        grants={"fleet_app": "select"},
    )
    op.grant(
        "quarantine_events", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"},
        schema="timeseries",
    )
    op.create_rollup(
        "quarantine_counters_minute",
        (
            "SELECT tenant_id, left(reason, 200) AS reason, time_bucket('1 minute', ts) AS bucket,\n"
            "       count(*) AS count\n"
            "  FROM timeseries.quarantine_events\n"
            " GROUP BY 1, 2, 3"
        ),
        materialized_only=False, comment="Rejected messages by minute and reason.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_columnstore(
        "quarantine_counters_minute", segmentby="tenant_id,reason", orderby="bucket DESC", after="7 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("quarantine_counters_minute", drop_after="90 days", schema="timeseries")
    op.create_refresh_policy(
        "quarantine_counters_minute", start_offset="1 day", end_offset="1 minute", every="5 minutes",
        schema="timeseries",
    )
    op.create_view(
        "quarantine_counters_minute",
        (
            "SELECT tenant_id, reason, bucket, count\n"
            "  FROM timeseries.quarantine_counters_minute\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Rejected messages by minute and reason. Only rows of the current tenant.",
        grants={"fleet_app": "select"},
    )


def downgrade() -> None:
    op.drop_view("quarantine_counters_minute")
    op.drop_rollup("quarantine_counters_minute", schema="timeseries")
    op.drop_view("quarantine_events")
    op.drop_hypertable("quarantine_events", schema="timeseries")
    op.drop_table("quarantine_events", schema="timeseries")
