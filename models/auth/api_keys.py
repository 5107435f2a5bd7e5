"""API keys, with which programs act for a tenant."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_ARRAY,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    tenant_reference,
)


class ApiKey(TenantScoped, Identified, Timestamped, Base):
    """A key that is shown once, when it is created; only its hash is stored.

    The application writes hashes but cannot read them; use_api_key() compares them.
    """

    __tablename__ = "api_keys"
    __by_functions__ = True
    __app_privileges__ = "select, insert, update (name, scopes, expires_at, revoked_at), delete"
    __hidden_columns__ = ("key_hash",)

    name: Mapped[str]
    key_prefix: Mapped[str] = mapped_column(
        comment="First characters of the key, for people to recognize it."
    )
    key_hash: Mapped[str] = mapped_column(
        deferred=True,
        comment="Unique over all tenants, since it is looked up before the tenant is known.",
    )
    scopes: Mapped[list[str]] = mapped_column(
        server_default=EMPTY_ARRAY, comment="Actions for which the key may be used."
    )
    expires_at: Mapped[datetime.datetime | None]
    last_used_at: Mapped[datetime.datetime | None]
    revoked_at: Mapped[datetime.datetime | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="The member who created it; NULL: no member, or one who has left."
    )

    __table_args__ = (
        tenant_reference("created_by", "tenant_members", "user_id", on_delete="set null"),
        Index("uq_api_keys_key_hash", "key_hash", unique=True),
        Index(None, "tenant_id", "created_by"),
        not_empty("name"),
        CheckConstraint("length(key_prefix) BETWEEN 4 AND 16", name="key_prefix"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        {"comment": "API keys, with which programs act for a tenant."},
    )
