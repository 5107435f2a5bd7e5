"""tag values

Revision 0017, after 0016; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "tag_values",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False,
            comment="When it was sampled, according to the source."),
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False, comment="The data source at the time."),
        sa.Column("quality", sa.Integer(), nullable=True, comment="Status code of the driver; 0 is good."),
        sa.Column("v_num", sa.Double(), nullable=True, comment="The value, if it is a number."),
        sa.Column("v_text", sa.Text(), nullable=True),
        sa.Column("v_bool", sa.Boolean(), nullable=True),
        sa.Column("v_json", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Arrays and structures."),
        sa.CheckConstraint("jsonb_typeof(v_json) <> 'null'", name=op.f("ck_tag_values_v_json_value")),
        sa.CheckConstraint("num_nonnulls(v_num, v_text, v_bool, v_json) <= 1", name=op.f("ck_tag_values_one_value")),
        sa.PrimaryKeyConstraint("tenant_id", "tag_id", "ts", name=op.f("pk_tag_values")),
        schema="timeseries",
        comment="Samples of tags; each row has a value of one type.",
    )
    op.create_hypertable("tag_values", time_column="ts", chunk_interval="1 day", schema="timeseries")
    op.create_columnstore(
        "tag_values", segmentby="tenant_id,tag_id", orderby="ts DESC", after="7 days", schema="timeseries",
    )
    op.create_retention_policy("tag_values", drop_after="30 days", schema="timeseries")
    op.create_view(
        "tag_values",
        (
            "SELECT tenant_id, ts, tag_id, connection_id, quality, v_num, v_text, v_bool, v_json\n"
            "  FROM timeseries.tag_values\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded",
        comment="Samples of tags; each row has a value of one type. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select"},
    )
    op.grant(
        "tag_values", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_rollup(
        "tag_values_hourly",
        (
            "SELECT tenant_id, tag_id, time_bucket('1 hour', ts) AS bucket,\n"
            "       avg(v_num) AS avg, min(v_num) AS min, max(v_num) AS max, count(*) AS count\n"
            "  FROM timeseries.tag_values\n"
            " WHERE abs(v_num) <= 1e100\n"
            " GROUP BY 1, 2, 3"
        ),
        materialized_only=False, comment="Numeric samples of tags by hour.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_columnstore(
        "tag_values_hourly", segmentby="tenant_id,tag_id", orderby="bucket DESC", after="30 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("tag_values_hourly", drop_after="1 year", schema="timeseries")
    op.create_refresh_policy(
        "tag_values_hourly", start_offset="3 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.create_view(
        "tag_values_hourly",
        (
            "SELECT tenant_id, tag_id, bucket, avg, min, max, count\n"
            "  FROM timeseries.tag_values_hourly\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Numeric samples of tags by hour. Only rows of the current tenant.", grants={"fleet_app": "select"},
    )


def downgrade() -> None:
    op.drop_view("tag_values_hourly")
    op.drop_rollup("tag_values_hourly", schema="timeseries")
    op.drop_view("tag_values")
    op.drop_hypertable("tag_values", schema="timeseries")
    op.drop_table("tag_values", schema="timeseries")
