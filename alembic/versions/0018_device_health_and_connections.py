"""device health and connections

Revision 0018, after 0017; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "device_connection_events",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False,
            comment="When it happened, according to the broker."),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False,
            comment="Distinguishes events of the same moment."),
        sa.Column("event", sa.Text(), nullable=False, comment="connection_lost: without a disconnect message."),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Reason, address, protocol, as reported by the broker."),
        sa.CheckConstraint("device_id <> ''", name=op.f("ck_device_connection_events_device_id_not_empty")),
        sa.CheckConstraint("event IN ('connected', 'disconnected', 'connection_lost')",
            name=op.f("ck_device_connection_events_event")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_device_connection_events_details_object")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", "ts", "seq", name=op.f("pk_device_connection_events")),
        schema="timeseries",
        comment="Connects and disconnects of devices.",
    )
    op.create_hypertable("device_connection_events", time_column="ts", chunk_interval="7 days", schema="timeseries")
    op.create_columnstore(
        "device_connection_events", segmentby="tenant_id", orderby="device_id,ts DESC,seq", after="7 days",
        schema="timeseries",
    )
    op.create_retention_policy("device_connection_events", drop_after="90 days", schema="timeseries")
    op.create_view(
        "device_connection_events",
        (
            "SELECT tenant_id, ts, device_id, seq, event, details\n"
            "  FROM timeseries.device_connection_events\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded", comment="Connects and disconnects of devices. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select"},
    )
    op.grant(
        "device_connection_events", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"},
        schema="timeseries",
    )

    op.create_table(
        "device_health_telemetry",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False,
            comment="When it was measured, according to the device."),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("rssi", sa.Integer(), nullable=True, comment="Signal strength, dBm."),
        sa.Column("rsrp", sa.Integer(), nullable=True, comment="Power of LTE reference signals, dBm."),
        sa.Column("rsrq", sa.Integer(), nullable=True, comment="Quality of LTE reference signals, dB."),
        sa.Column("sinr", sa.Integer(), nullable=True, comment="Signal to interference and noise, dB."),
        sa.Column("signal_quality", sa.Integer(), nullable=True, comment="Percent, according to the modem."),
        sa.Column("network_type", sa.Text(), nullable=True, comment="LTE, NB-IoT, Wi-Fi, ..."),
        sa.Column("cell_id", sa.Text(), nullable=True),
        sa.Column("mcc_mnc", sa.Text(), nullable=True, comment="Country and network of the carrier."),
        sa.Column("battery_pct", sa.Integer(), nullable=True),
        sa.Column("battery_voltage", sa.Double(), nullable=True, comment="Volts."),
        sa.Column("power_source", sa.Text(), nullable=True),
        sa.Column("charging", sa.Boolean(), nullable=True),
        sa.Column("cpu_temp_c", sa.Double(), nullable=True, comment="Degrees Celsius."),
        sa.Column("memory_used_pct", sa.Integer(), nullable=True),
        sa.Column("storage_used_pct", sa.Integer(), nullable=True),
        sa.Column("uptime_seconds", sa.BigInteger(), nullable=True),
        sa.Column("reboot_count", sa.BigInteger(), nullable=True, comment="Since it was manufactured."),
        sa.Column("error_count", sa.BigInteger(), nullable=True, comment="Since the last reboot."),
        sa.Column("data_tx_bytes", sa.BigInteger(), nullable=True, comment="Sent since the last reboot."),
        sa.Column("data_rx_bytes", sa.BigInteger(), nullable=True, comment="Received since then."),
        sa.Column("data_session_bytes", sa.BigInteger(), nullable=True,
            comment="Sent and received in the current session."),
        sa.Column("gps_lat", sa.Double(), nullable=True, comment="Degrees, WGS 84."),
        sa.Column("gps_lon", sa.Double(), nullable=True, comment="Degrees, WGS 84."),
        sa.Column("gps_accuracy_m", sa.Double(), nullable=True, comment="Metres."),
        sa.Column("gps_fix", sa.Boolean(), nullable=True),
        sa.Column("extra", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Other values that the device reports."),
        sa.CheckConstraint("device_id <> ''", name=op.f("ck_device_health_telemetry_device_id_not_empty")),
        sa.CheckConstraint("jsonb_typeof(extra) = 'object'", name=op.f("ck_device_health_telemetry_extra_object")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", "ts", name=op.f("pk_device_health_telemetry")),
        schema="timeseries",
        comment="Radio, power and position of devices.",
    )
    op.create_hypertable("device_health_telemetry", time_column="ts", chunk_interval="1 day", schema="timeseries")
    op.create_columnstore(
        "device_health_telemetry", segmentby="tenant_id,device_id", orderby="ts DESC", after="7 days",
        schema="timeseries",
    )
    op.create_retention_policy("device_health_telemetry", drop_after="90 days", schema="timeseries")
    op.create_view(
        "device_health_telemetry",
        (
            "SELECT tenant_id, ts, device_id, rssi, rsrp, rsrq, sinr, signal_quality, network_type, cell_id, mcc_mnc,"
            " battery_pct, battery_voltage, power_source, charging, cpu_temp_c, memory_used_pct, storage_used_pct,"
            " uptime_seconds, reboot_count, error_count, data_tx_bytes, data_rx_bytes, data_session_bytes, gps_lat,"
            " gps_lon, gps_accuracy_m, gps_fix, extra\n"
            "  FROM timeseries.device_health_telemetry\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded", comment="Radio, power and position of devices. Only rows of the current tenant.",
        grants={"fleet_app": "insert, select"},
    )
    op.grant(
        "device_health_telemetry", {"fleet_ingest": "insert", "fleet_operator, fleet_operator_read": "select"},
        schema="timeseries",
    )
    op.create_rollup(
        "device_health_hourly",
        (
            "SELECT tenant_id, device_id, time_bucket('1 hour', ts) AS bucket,\n"
            "       avg(rssi)::double precision AS avg_rssi,\n"
            "       avg(signal_quality)::double precision AS avg_signal_quality,\n"
            "       min(signal_quality) AS min_signal_quality,\n"
            "       avg(battery_pct)::double precision AS avg_battery_pct,\n"
            "       min(battery_pct) AS min_battery_pct,\n"
            "       avg(battery_voltage) FILTER (WHERE abs(battery_voltage) <= 1e100) AS avg_battery_voltage,\n"
            "       avg(cpu_temp_c) FILTER (WHERE abs(cpu_temp_c) <= 1e100) AS avg_cpu_temp_c,\n"
            "       max(cpu_temp_c) FILTER (WHERE abs(cpu_temp_c) <= 1e100) AS max_cpu_temp_c,\n"
            "       max(memory_used_pct) AS max_memory_used_pct,\n"
            "       max(storage_used_pct) AS max_storage_used_pct,\n"
            "       max(reboot_count) AS reboot_count,\n"
            "       max(error_count) AS error_count,\n"
            "       max(data_tx_bytes) AS data_tx_bytes,\n"
            "       max(data_rx_bytes) AS data_rx_bytes,\n"
            "       count(*) AS count\n"
            "  FROM timeseries.device_health_telemetry\n"
            " GROUP BY 1, 2, 3"
        ),
        materialized_only=False, comment="Radio, power and load of devices by hour; of counters the maximum.",
        grants={"fleet_operator, fleet_operator_read": "select"}, schema="timeseries",
    )
    op.create_columnstore(
        "device_health_hourly", segmentby="tenant_id,device_id", orderby="bucket DESC", after="30 days", rollup=True,
        schema="timeseries",
    )
    op.create_retention_policy("device_health_hourly", drop_after="1 year", schema="timeseries")
    op.create_refresh_policy(
        "device_health_hourly", start_offset="3 days", end_offset="1 hour", every="30 minutes", schema="timeseries",
    )
    op.create_view(
        "device_health_hourly",
        (
            "SELECT tenant_id, device_id, bucket, avg_rssi, avg_signal_quality, min_signal_quality, avg_battery_pct,"
            " min_battery_pct, avg_battery_voltage, avg_cpu_temp_c, max_cpu_temp_c, max_memory_used_pct,"
            " max_storage_used_pct, reboot_count, error_count, data_tx_bytes, data_rx_bytes, count\n"
            "  FROM timeseries.device_health_hourly\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        comment="Radio, power and load of devices by hour; of counters the maximum. Only rows of the current tenant.",
        grants={"fleet_app": "select"},
    )


def downgrade() -> None:
    op.drop_view("device_health_hourly")
    op.drop_rollup("device_health_hourly", schema="timeseries")
    op.drop_view("device_health_telemetry")
    op.drop_hypertable("device_health_telemetry", schema="timeseries")
    op.drop_table("device_health_telemetry", schema="timeseries")
    op.drop_view("device_connection_events")
    op.drop_hypertable("device_connection_events", schema="timeseries")
    op.drop_table("device_connection_events", schema="timeseries")
