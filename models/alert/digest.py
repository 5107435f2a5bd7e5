"""Summaries of alerts by e-mail."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import Base, TenantScoped, Timestamped, one_of, tenant_reference


class AlertDigestSettings(TenantScoped, Timestamped, Base):
    """How often a member receives the summary."""

    __tablename__ = "alert_digest_settings"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    frequency: Mapped[str] = mapped_column(server_default="daily")
    email: Mapped[str | None] = mapped_column(comment="NULL: the address of the account.")
    last_sent_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        # For the worker, which looks for due summaries of all tenants.
        Index(
            None,
            "frequency",
            text("last_sent_at NULLS FIRST"),
            postgresql_where=text("frequency <> 'disabled'"),
        ),
        one_of("frequency", ("daily", "weekly", "disabled")),
        CheckConstraint("position('@' in email) > 1", name="email"),
        {"comment": "Settings of each member for the summary of alerts by e-mail."},
    )
