"""Connections of devices to the platform, and accounts at mobile carriers."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    TRUE,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.secrets import no_password, no_secrets


class CarrierIntegration(TenantScoped, Identified, Timestamped, Base):
    """An account of a tenant at a mobile carrier."""

    __tablename__ = "carrier_integrations"

    carrier_name: Mapped[str] = mapped_column(
        comment="Identifier of the carrier in the application."
    )
    display_name: Mapped[str]
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    api_base_url: Mapped[str | None]
    account_id: Mapped[str | None] = mapped_column(comment="Account number at the carrier.")
    secret_ref: Mapped[str | None] = mapped_column(
        comment="Name of the credentials in the secret store."
    )
    config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Additional settings; no credentials."
    )
    sync_enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    sync_interval_minutes: Mapped[int] = mapped_column(server_default=text("60"))
    last_sync_at: Mapped[datetime.datetime | None]
    last_sync_status: Mapped[str] = mapped_column(server_default="never")
    last_sync_error: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("tenant_id", "carrier_name"),
        Index(
            "ix_carrier_integrations_due",
            "last_sync_at",
            postgresql_where=text("enabled AND sync_enabled"),
        ),
        not_empty("carrier_name"),
        json_object("config"),
        CheckConstraint("sync_interval_minutes > 0", name="sync_interval_minutes"),
        one_of("last_sync_status", ("never", "success", "partial", "error")),
        no_secrets("config", later=True),
        no_password("api_base_url", later=True),
        {"comment": "Accounts of tenants at mobile carriers."},
    )


class DeviceTransport(TenantScoped, Identified, Timestamped, Base):
    """A transport of a device: protocol, medium, SIM card."""

    __tablename__ = "device_transports"

    device_id: Mapped[str]
    ingestion_protocol: Mapped[str]
    physical_connectivity: Mapped[str | None]
    protocol_config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Topic, port, addresses; no credentials."
    )
    connectivity_config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Settings of the medium; no credentials."
    )
    is_primary: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Used for commands; at most one per device."
    )
    status: Mapped[str] = mapped_column(
        server_default="active", comment="failover: used only while no active transport works."
    )
    last_connected_at: Mapped[datetime.datetime | None]
    carrier_integration_id: Mapped[uuid.UUID | None]
    carrier_device_id: Mapped[str | None] = mapped_column(
        comment="Identifier of the SIM at the carrier."
    )
    sim_iccid: Mapped[str | None] = mapped_column(comment="Serial number of the SIM card.")
    sim_status: Mapped[str | None]
    msisdn: Mapped[str | None] = mapped_column(comment="Telephone number of the SIM card.")
    apn: Mapped[str | None] = mapped_column(comment="Access point name.")
    carrier_plan_name: Mapped[str | None] = mapped_column(comment="Plan at the carrier.")
    network_status: Mapped[str | None] = mapped_column(comment="As reported by the carrier.")
    ip_address: Mapped[str | None] = mapped_column(INET)
    last_network_attach_at: Mapped[datetime.datetime | None]
    data_limit_mb: Mapped[decimal.Decimal | None] = mapped_column(comment="Per billing cycle.")
    data_used_mb: Mapped[decimal.Decimal | None] = mapped_column(comment="In this billing cycle.")
    data_used_updated_at: Mapped[datetime.datetime | None]
    billing_cycle_day: Mapped[int | None] = mapped_column(
        comment="Day of the month on which data_used_mb is reset."
    )

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        tenant_reference(
            "carrier_integration_id", "carrier_integrations", "id", on_delete="set null"
        ),
        UniqueConstraint("tenant_id", "device_id", "ingestion_protocol"),
        Index(
            "uq_device_transports_primary",
            "tenant_id",
            "device_id",
            unique=True,
            postgresql_where=text("is_primary"),
        ),
        Index(None, "tenant_id", "ingestion_protocol"),
        Index(None, "tenant_id", "carrier_integration_id"),
        one_of(
            "ingestion_protocol",
            ("mqtt_direct", "http_api", "lorawan", "gateway_proxy", "modbus_rtu"),
        ),
        one_of(
            "physical_connectivity",
            ("cellular", "ethernet", "wifi", "satellite", "lora", "other"),
        ),
        one_of("status", ("active", "inactive", "failover")),
        one_of("sim_status", ("ready", "active", "suspended", "deactivated")),
        json_object("protocol_config"),
        json_object("connectivity_config"),
        CheckConstraint("data_limit_mb >= 0 AND data_used_mb >= 0", name="data"),
        CheckConstraint("billing_cycle_day BETWEEN 1 AND 31", name="billing_cycle_day"),
        no_secrets("protocol_config", later=True),
        no_secrets("connectivity_config", later=True),
        {"comment": "Transports of devices, with SIM cards and data usage."},
    )
