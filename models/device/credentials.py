"""Credentials of devices: tokens, activation codes, certificates."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    access,
    not_empty,
    one_of,
    tenant_reference,
)


class DeviceApiToken(TenantScoped, Identified, Timestamped, Base):
    """A token of a device; revoked tokens are kept as history."""

    __tablename__ = "device_api_tokens"
    __app_privileges__ = (
        "select, insert, update (label, expires_at, revoked_at, revoked_reason), delete"
    )
    __hidden_columns__ = ("token_hash",)

    device_id: Mapped[str]
    client_id: Mapped[str] = mapped_column(
        comment="Login at the broker; unique over all tenants, since it is looked up before the "
        "tenant is known."
    )
    token_hash: Mapped[str] = mapped_column(deferred=True, comment="Compared by the ingest.")
    label: Mapped[str] = mapped_column(server_default="default")
    expires_at: Mapped[datetime.datetime | None]
    revoked_at: Mapped[datetime.datetime | None]
    revoked_reason: Mapped[str | None]

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index("uq_device_api_tokens_client_id", "client_id", unique=True),
        Index(None, "tenant_id", "device_id"),
        not_empty("client_id"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint("revoked_reason IS NULL OR revoked_at IS NOT NULL", name="revoked"),
        *access(
            "fleet_ingest",
            "select (tenant_id, id, device_id, client_id, token_hash, expires_at, revoked_at)",
        ),
        {"comment": "Tokens with which devices log in, including expired and revoked ones."},
    )


class DeviceActivation(TenantScoped, Timestamped, Base):
    """A code to activate a device once."""

    __tablename__ = "device_activations"

    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    code_hash: Mapped[str] = mapped_column(
        Text,
        primary_key=True,
        comment="Hash of the code, salted with the device: codes are short, so without salt their "
        "hashes could be looked up in a table of all codes.",
    )
    site_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The site to which the activated device is assigned."
    )
    expires_at: Mapped[datetime.datetime]
    used_at: Mapped[datetime.datetime | None] = mapped_column(comment="A code can be used once.")

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        tenant_reference("site_id", "sites", on_delete="set null"),
        Index(None, "tenant_id", "site_id"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        {"comment": "One-time activation codes of devices."},
    )


class DeviceCertificate(TenantScoped, Identified, Timestamped, Base):
    """An X.509 certificate of a device."""

    __tablename__ = "device_certificates"

    device_id: Mapped[str]
    cert_pem: Mapped[str] = mapped_column(
        comment="The public certificate; the private key is never stored."
    )
    fingerprint_sha256: Mapped[str] = mapped_column(
        comment="Lower-case hex; unique over all tenants, since it is looked up before the "
        "tenant is known."
    )
    common_name: Mapped[str]
    issuer: Mapped[str]
    serial_number: Mapped[str] = mapped_column(comment="Assigned by the issuer.")
    status: Mapped[str] = mapped_column(
        server_default="active",
        comment="A job sets expired some time after not_after; check not_after as well.",
    )
    not_before: Mapped[datetime.datetime]
    not_after: Mapped[datetime.datetime]
    revoked_at: Mapped[datetime.datetime | None]
    revoked_reason: Mapped[str | None]

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index("uq_device_certificates_fingerprint_sha256", "fingerprint_sha256", unique=True),
        Index(None, "tenant_id", "device_id"),
        Index(None, "not_after", postgresql_where=text("status = 'active'")),
        CheckConstraint("fingerprint_sha256 ~ '^[0-9a-f]{64}$'", name="fingerprint_sha256"),
        one_of("status", ("active", "revoked", "expired")),
        CheckConstraint("not_after > not_before", name="validity"),
        CheckConstraint("(status = 'revoked') = (revoked_at IS NOT NULL)", name="revoked_at"),
        {"comment": "X.509 certificates of devices."},
    )
