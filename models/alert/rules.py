"""Alert rules: their conditions and targets."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    FALSE,
    TRUE,
    UUID7,
    ZERO,
    Base,
    BigInt,
    Identified,
    TenantScoped,
    Timestamped,
    json_array,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.secrets import no_secrets

SEVERITY = "1 (for information) to 5 (critical)"
_TARGETS = (
    "site_id",
    "group_id",
    "device_id",
    "sensor_id",
    "tag_id",
    "endpoint_id",
    "device_type",
)


class AlertRule(TenantScoped, Timestamped, Base):
    """When to raise an alert, and how severe it is."""

    __tablename__ = "alert_rules"

    rule_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7)
    name: Mapped[str]
    description: Mapped[str | None]
    rule_type: Mapped[str] = mapped_column(
        server_default="threshold",
        comment="threshold: latest values; window: aggregates; anomaly: deviation from the mean in "
        "standard deviations; the others: no data for for_seconds.",
    )
    severity: Mapped[int] = mapped_column(server_default=text("3"), comment=f"{SEVERITY}.")
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    match_mode: Mapped[str] = mapped_column(
        server_default="all", comment="Whether all conditions have to hold, or any of them."
    )
    for_seconds: Mapped[int] = mapped_column(
        server_default=ZERO,
        comment="How long the condition must last before an alert is raised.",
    )
    target_all: Mapped[bool] = mapped_column(
        server_default=FALSE,
        comment="Applies to the whole tenant. Having no targets does not mean this: a rule whose "
        "last target is deleted must not suddenly apply to everything.",
    )
    escalation_policy_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="NULL: the default policy of the tenant, if it has one."
    )
    actions: Mapped[list[Any]] = mapped_column(
        server_default=text("'[]'::jsonb"),
        comment="Actions besides notifications, e.g. device commands; an array of objects.",
    )
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        comment="users.id; no foreign key, the rule outlives the account."
    )

    __table_args__ = (
        tenant_reference("escalation_policy_id", "escalation_policies", "id", on_delete="set null"),
        Index(None, "tenant_id", "escalation_policy_id"),
        Index(
            "ix_alert_rules_rule_type_enabled",
            "tenant_id",
            "rule_type",
            postgresql_where=text("enabled"),
        ),
        not_empty("name"),
        one_of("rule_type", ("threshold", "window", "anomaly", "no_telemetry", "heartbeat", "gap")),
        one_of("match_mode", ("all", "any")),
        CheckConstraint("severity BETWEEN 1 AND 5", name="severity"),
        CheckConstraint(
            "for_seconds >= CASE WHEN rule_type IN ('no_telemetry', 'heartbeat', 'gap')"
            " THEN 1 ELSE 0 END",
            name="for_seconds",
        ),
        json_array("actions"),
        no_secrets("actions", later=True),
        {
            "comment": "Rules that raise alerts; their conditions and targets are in tables of "
            "their own."
        },
    )


class AlertRuleCondition(TenantScoped, Timestamped, Base):
    """One comparison of a rule."""

    __tablename__ = "alert_rule_conditions"

    rule_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="Display order, from 1."
    )
    metric: Mapped[str] = mapped_column(comment="A metric key or the name of a tag.")
    operator: Mapped[str]
    threshold: Mapped[float] = mapped_column(
        comment="In the unit of the metric; for anomaly rules in standard deviations."
    )
    aggregation: Mapped[str | None] = mapped_column(
        comment="Over window_seconds; NULL: the latest value."
    )
    window_seconds: Mapped[int | None]

    __table_args__ = (
        tenant_reference("rule_id", "alert_rules", on_delete="cascade"),
        CheckConstraint("ordinal > 0", name="ordinal"),
        not_empty("metric"),
        one_of("operator", ("gt", "lt", "gte", "lte", "eq", "neq")),
        CheckConstraint(
            "threshold > '-Infinity'::double precision"
            " AND threshold < 'Infinity'::double precision",
            name="threshold",
        ),
        one_of("aggregation", ("avg", "min", "max", "count", "sum")),
        CheckConstraint("window_seconds BETWEEN 60 AND 3600", name="window_seconds"),
        CheckConstraint(
            "(aggregation IS NULL) = (window_seconds IS NULL)", name="aggregation_has_a_window"
        ),
        {"comment": "Conditions of alert rules, one comparison per row."},
    )


class AlertRuleTarget(TenantScoped, Identified, Base):
    """An object that a rule applies to; deleted together with the object."""

    __tablename__ = "alert_rule_targets"
    __app_privileges__ = "select, insert, delete"

    rule_id: Mapped[uuid.UUID]
    site_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Exactly one of these columns is set."
    )
    group_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Static or dynamic: device_group_members lists the devices of both."
    )
    device_id: Mapped[str | None]
    sensor_id: Mapped[uuid.UUID | None]
    tag_id: Mapped[BigInt | None] = mapped_column(comment="tag_metadata.tag_id")
    endpoint_id: Mapped[uuid.UUID | None] = mapped_column(comment="endpoints.id")
    device_type: Mapped[str | None]

    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints", "id", on_delete="cascade"),
        tenant_reference("tag_id", "tag_metadata", on_delete="cascade"),
        tenant_reference("rule_id", "alert_rules", on_delete="cascade"),
        tenant_reference("site_id", "sites", on_delete="cascade"),
        tenant_reference("group_id", "device_groups", on_delete="cascade"),
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        tenant_reference("sensor_id", "device_sensors", "id", on_delete="cascade"),
        UniqueConstraint(
            "tenant_id",
            "rule_id",
            *_TARGETS,
            name="uq_alert_rule_targets_target",
            postgresql_nulls_not_distinct=True,
        ),
        *(Index(None, "tenant_id", column) for column in _TARGETS),
        CheckConstraint(f"num_nonnulls({', '.join(_TARGETS)}) = 1", name="one_target"),
        not_empty("device_type"),
        {"comment": "Objects that alert rules apply to, one per row."},
    )
