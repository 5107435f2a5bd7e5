"""Dependencies between endpoints, and their TLS certificates."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    NOW,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.status_transitions import status_transitions


class EndpointDependency(TenantScoped, Timestamped, Base):
    """An endpoint depends on another, or can use it as a fallback."""

    __tablename__ = "endpoint_dependencies"

    endpoint_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    depends_on_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(
        server_default="primary", comment="What the other endpoint is used for."
    )
    criticality: Mapped[str] = mapped_column(server_default="medium")
    weight: Mapped[float] = mapped_column(
        server_default=text("1"), comment="Weight in the health of endpoint_id."
    )
    fallback_for: Mapped[uuid.UUID | None] = mapped_column(
        comment="The dependency that it replaces; NULL: the endpoint itself."
    )

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        tenant_reference("depends_on_id", "endpoints", "id", on_delete="cascade"),
        tenant_reference("fallback_for", "endpoints", "id", on_delete="set null"),
        Index(None, "tenant_id", "depends_on_id"),
        Index(None, "tenant_id", "fallback_for"),
        one_of("role", ("primary", "cache", "search", "fallback", "optional")),
        one_of("criticality", ("critical", "high", "medium", "low")),
        CheckConstraint("weight > 0 AND weight <= 100", name="weight"),
        CheckConstraint("endpoint_id <> depends_on_id", name="not_itself"),
        CheckConstraint("role = 'fallback' OR fallback_for IS NULL", name="fallback"),
        # A session that adds an edge locks the row of the tenant. So of two edges that would close
        # a cycle together, the second one waits and then sees the first.
        Function(
            "reject_dependency_cycle",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body="""
                begin
                  perform from public.tenants where tenant_id = new.tenant_id for no key update;
                  if exists (
                    with recursive reached (id) as (
                      select new.depends_on_id
                      union
                      select d.depends_on_id from reached r
                        join public.endpoint_dependencies d
                          on d.tenant_id = new.tenant_id and d.endpoint_id = r.id)
                    select from reached where id = new.endpoint_id)
                  then
                    raise exception 'endpoint % would depend on itself through %',
                        new.endpoint_id, new.depends_on_id
                      using errcode = 'check_violation', table = tg_table_name,
                            hint = 'Remove the dependency in the other direction first.';
                  end if;
                  return null;
                end
            """,
            comment="Trigger: rejects cycles of dependencies between endpoints.",
        ),
        Trigger(
            "dependencies_form_no_cycle",
            timing="after",
            events="insert or update of endpoint_id, depends_on_id",
            function="reject_dependency_cycle()",
        ),
        {"comment": "Dependencies between endpoints."},
    )


class DependencySuggestion(TenantScoped, Identified, Timestamped, Base):
    """A suggested dependency, to be approved or rejected by a person."""

    __tablename__ = "dependency_suggestions"

    endpoint_id: Mapped[uuid.UUID]
    depends_on_id: Mapped[uuid.UUID]
    confidence: Mapped[float] = mapped_column(comment="0 to 1.")
    reason: Mapped[str] = mapped_column(comment="Why it was suggested.")
    status: Mapped[str] = mapped_column(server_default="pending")
    decided_by: Mapped[uuid.UUID | None]
    decided_at: Mapped[datetime.datetime | None]
    expires_at: Mapped[datetime.datetime] = mapped_column(
        server_default=text("(now() + '30 days'::interval)")
    )

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        tenant_reference("depends_on_id", "endpoints", "id", on_delete="cascade"),
        tenant_reference("decided_by", "tenant_members", "user_id", on_delete="set null"),
        Index(
            "uq_dependency_suggestions_pending",
            "tenant_id",
            "endpoint_id",
            "depends_on_id",
            unique=True,
            postgresql_where=text("status = 'pending'"),
        ),
        Index(None, "tenant_id", "endpoint_id"),
        Index(None, "tenant_id", "depends_on_id"),
        Index(None, "tenant_id", "decided_by"),
        Index(None, "expires_at", postgresql_where=text("status = 'pending'")),
        one_of("status", ("pending", "approved", "rejected", "expired")),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        CheckConstraint("endpoint_id <> depends_on_id", name="not_itself"),
        CheckConstraint(
            "(status IN ('approved', 'rejected')) = (decided_at IS NOT NULL)", name="decided_at"
        ),
        not_empty("reason"),
        status_transitions(
            "dependency_suggestions", {"pending": ("approved", "rejected", "expired")}
        ),
        Function(
            "approve_suggestion",
            "suggestion uuid, by_user uuid",
            returns="boolean",
            body="""
                BEGIN ATOMIC
                  WITH approved AS (
                    UPDATE dependency_suggestions
                       SET status = 'approved', decided_by = by_user, decided_at = now()
                     WHERE tenant_id = current_tenant() AND id = suggestion AND status = 'pending'
                       AND expires_at > now()
                    RETURNING tenant_id, endpoint_id, depends_on_id
                  ), made AS (
                    INSERT INTO endpoint_dependencies (tenant_id, endpoint_id, depends_on_id)
                    SELECT tenant_id, endpoint_id, depends_on_id FROM approved
                    ON CONFLICT DO NOTHING
                  )
                  SELECT true FROM approved;
                END
            """,
            grants={"fleet_app": "execute"},
            comment="Approves a suggestion and creates the dependency; NULL if it is no longer "
            "pending.",
        ),
        {"comment": "Suggested dependencies."},
    )


class EndpointCertificate(TenantScoped, Timestamped, Base):
    """The TLS certificate that an endpoint presented most recently."""

    __tablename__ = "endpoint_certificates"

    endpoint_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    subject: Mapped[str]
    issuer: Mapped[str]
    serial_number: Mapped[str | None]
    fingerprint_sha256: Mapped[str] = mapped_column(comment="Lower-case hex.")
    not_before: Mapped[datetime.datetime]
    not_after: Mapped[datetime.datetime]
    last_seen_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    last_alerted_at: Mapped[datetime.datetime | None] = mapped_column(
        comment="Alerts are sent 30, 14 and 7 days before it expires, then daily."
    )

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        # For the worker, which looks for expiring certificates of all tenants.
        Index(None, "not_after"),
        CheckConstraint("not_after > not_before", name="validity"),
        CheckConstraint("fingerprint_sha256 ~ '^[0-9a-f]{64}$'", name="fingerprint_sha256"),
        {"comment": "TLS certificates of endpoints."},
    )
