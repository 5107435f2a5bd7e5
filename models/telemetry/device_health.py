"""Health of devices (radio, power, position), and its hourly rollup."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Columnstore, Hypertable, RefreshPolicy, RetentionPolicy
from models.shared.base import (
    EMPTY_OBJECT,
    TIMESERIES,
    Base,
    BigInt,
    TenantTimeSeries,
    json_object,
    not_empty,
)
from models.shared.rollups import MEASURABLE, tenant_rollup
from models.telemetry.registered import DEVICE


class DeviceHealthTelemetry(TenantTimeSeries, Base):
    """A report of a device about itself.

    Ranges are not checked: a device that reports 101 % should be visible, not rejected.
    """

    __tablename__ = "device_health_telemetry"
    __registered__ = (DEVICE,)

    ts: Mapped[datetime.datetime] = mapped_column(
        sort_order=-19, comment="When it was measured, according to the device."
    )
    device_id: Mapped[str]
    rssi: Mapped[int | None] = mapped_column(comment="Signal strength, dBm.")
    rsrp: Mapped[int | None] = mapped_column(comment="Power of LTE reference signals, dBm.")
    rsrq: Mapped[int | None] = mapped_column(comment="Quality of LTE reference signals, dB.")
    sinr: Mapped[int | None] = mapped_column(comment="Signal to interference and noise, dB.")
    signal_quality: Mapped[int | None] = mapped_column(comment="Percent, according to the modem.")
    network_type: Mapped[str | None] = mapped_column(comment="LTE, NB-IoT, Wi-Fi, ...")
    cell_id: Mapped[str | None]
    mcc_mnc: Mapped[str | None] = mapped_column(comment="Country and network of the carrier.")
    battery_pct: Mapped[int | None]
    battery_voltage: Mapped[float | None] = mapped_column(comment="Volts.")
    power_source: Mapped[str | None]
    charging: Mapped[bool | None]
    cpu_temp_c: Mapped[float | None] = mapped_column(comment="Degrees Celsius.")
    memory_used_pct: Mapped[int | None]
    storage_used_pct: Mapped[int | None]
    uptime_seconds: Mapped[BigInt | None]
    reboot_count: Mapped[BigInt | None] = mapped_column(comment="Since it was manufactured.")
    error_count: Mapped[BigInt | None] = mapped_column(comment="Since the last reboot.")
    data_tx_bytes: Mapped[BigInt | None] = mapped_column(comment="Sent since the last reboot.")
    data_rx_bytes: Mapped[BigInt | None] = mapped_column(comment="Received since then.")
    data_session_bytes: Mapped[BigInt | None] = mapped_column(
        comment="Sent and received in the current session."
    )
    gps_lat: Mapped[float | None] = mapped_column(comment="Degrees, WGS 84.")
    gps_lon: Mapped[float | None] = mapped_column(comment="Degrees, WGS 84.")
    gps_accuracy_m: Mapped[float | None] = mapped_column(comment="Metres.")
    gps_fix: Mapped[bool | None]
    extra: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Other values that the device reports."
    )

    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "device_id", "ts"),
        not_empty("device_id"),
        json_object("extra"),
        Hypertable("ts", chunk_interval="1 day"),
        Columnstore(segmentby="tenant_id, device_id", orderby="ts DESC", after="7 days"),
        RetentionPolicy("90 days"),
        {"schema": TIMESERIES, "comment": "Radio, power and position of devices."},
    )


_TEMPERATURE = MEASURABLE.format("cpu_temp_c")
_VOLTAGE = MEASURABLE.format("battery_voltage")

tenant_rollup(
    "device_health_hourly",
    f"""
    SELECT tenant_id, device_id, time_bucket('1 hour', ts) AS bucket,
           avg(rssi)::double precision AS avg_rssi,
           avg(signal_quality)::double precision AS avg_signal_quality,
           min(signal_quality) AS min_signal_quality,
           avg(battery_pct)::double precision AS avg_battery_pct,
           min(battery_pct) AS min_battery_pct,
           avg(battery_voltage) FILTER (WHERE {_VOLTAGE}) AS avg_battery_voltage,
           avg(cpu_temp_c) FILTER (WHERE {_TEMPERATURE}) AS avg_cpu_temp_c,
           max(cpu_temp_c) FILTER (WHERE {_TEMPERATURE}) AS max_cpu_temp_c,
           max(memory_used_pct) AS max_memory_used_pct,
           max(storage_used_pct) AS max_storage_used_pct,
           max(reboot_count) AS reboot_count,
           max(error_count) AS error_count,
           max(data_tx_bytes) AS data_tx_bytes,
           max(data_rx_bytes) AS data_rx_bytes,
           count(*) AS count
      FROM timeseries.device_health_telemetry
     GROUP BY 1, 2, 3
    """,
    columns=(
        "tenant_id",
        "device_id",
        "bucket",
        "avg_rssi",
        "avg_signal_quality",
        "min_signal_quality",
        "avg_battery_pct",
        "min_battery_pct",
        "avg_battery_voltage",
        "avg_cpu_temp_c",
        "max_cpu_temp_c",
        "max_memory_used_pct",
        "max_storage_used_pct",
        "reboot_count",
        "error_count",
        "data_tx_bytes",
        "data_rx_bytes",
        "count",
    ),
    refresh=RefreshPolicy("91 days", "1 hour", "30 minutes"),
    columnstore=Columnstore("tenant_id, device_id", "bucket DESC", "30 days"),
    retention="1 year",
    comment="Radio, power and load of devices by hour; of counters the maximum.",
)
