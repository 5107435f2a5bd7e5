"""Accesses of operators to the data of tenants."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Grant
from models.shared.base import NOW, TRUE, Base, Identified, Private, not_empty

_WRITTEN = (
    "id, user_id, action, tenant_filter, resource_type, resource_id, ip_address, user_agent,"
    " reason, rls_bypassed"
)


class OperatorAuditLog(Private, Identified, Base):
    """An access across tenants. Append-only: no role may change or delete a row.

    The database sets time and login; the writer cannot forge them.
    """

    __tablename__ = "operator_audit_log"

    user_id: Mapped[str] = mapped_column(
        comment="The person, as named by the identity provider; may have no row in users."
    )
    action: Mapped[str]
    tenant_filter: Mapped[uuid.UUID | None] = mapped_column(
        comment="The tenant accessed, NULL for all; no foreign key, it outlives the tenant."
    )
    resource_type: Mapped[str | None]
    resource_id: Mapped[str | None]
    ip_address: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str | None]
    reason: Mapped[str | None] = mapped_column(comment="Reason given by the operator.")
    rls_bypassed: Mapped[bool] = mapped_column(
        server_default=TRUE, comment="True: rows of every tenant were visible."
    )
    login: Mapped[str] = mapped_column(
        server_default=text("session_user"), comment="Database login of the session."
    )
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        not_empty("user_id"),
        not_empty("action"),
        Index(None, "created_at"),
        Index(None, "user_id", "created_at"),
        Index(None, "tenant_filter", "created_at"),
        Index(None, "action", "created_at"),
        Grant(f"select, insert ({_WRITTEN})", to="fleet_operator"),
        Grant(f"select, insert ({_WRITTEN})", to="fleet_operator_read"),
        {"comment": "Accesses of operators across tenants."},
    )
