"""Raising an alert: the first call inserts it, further calls count."""

from __future__ import annotations

from ddl import Function
from models.shared.base import Base

# The partial unique index decides which of two sessions inserts; the other one counts. The policy
# is stored with the alert, so that deleting the rule later does not end the escalation.
_RAISE_ALERT = """
    BEGIN ATOMIC
      INSERT INTO fleet_alert AS a
             (tenant_id, fingerprint, alert_type, severity, summary, details, confidence,
              device_id, site_id, rule_id, endpoint_id, tag_id, escalation_policy_id,
              next_escalation_at)
      SELECT raise_alert.tenant, raise_alert.fingerprint, raise_alert.alert_type,
             raise_alert.severity, raise_alert.summary, raise_alert.details,
             raise_alert.confidence, raise_alert.device_id, place.site_id, raise_alert.rule_id,
             raise_alert.endpoint_id, raise_alert.tag_id, policy.id,
             now() + make_interval(mins => first.delay_minutes)
        FROM (SELECT coalesce(raise_alert.site_id, (
                SELECT d.site_id FROM device_registry AS d
                 WHERE d.tenant_id = raise_alert.tenant
                   AND d.device_id = raise_alert.device_id)) AS site_id) AS place
        LEFT JOIN LATERAL (
          SELECT p.id
            FROM escalation_policies AS p
            LEFT JOIN alert_rules AS r
              ON r.tenant_id = p.tenant_id AND r.rule_id = raise_alert.rule_id
             AND r.escalation_policy_id = p.id
           WHERE p.tenant_id = raise_alert.tenant AND (p.is_default OR r.rule_id IS NOT NULL)
           ORDER BY r.rule_id IS NULL
           LIMIT 1) AS policy ON true
        LEFT JOIN escalation_levels AS first
          ON first.tenant_id = raise_alert.tenant AND first.policy_id = policy.id
         AND first.level = 1
       WHERE NOT under_maintenance(
               device_id => raise_alert.device_id, site_id => place.site_id,
               endpoint_id => raise_alert.endpoint_id, project_id => raise_alert.project_id,
               tenant => raise_alert.tenant)
          ON CONFLICT (tenant_id, fingerprint) WHERE status <> 'closed' DO UPDATE
         SET trigger_count = least(a.trigger_count, 9223372036854775806) + 1,
             last_triggered_at = greatest(a.last_triggered_at, excluded.last_triggered_at),
             severity = greatest(a.severity, excluded.severity),
             confidence = excluded.confidence,
             summary = excluded.summary,
             details = excluded.details
      RETURNING a.id, a.trigger_count = 1, a.trigger_count;
    END
"""

Function(
    "raise_alert",
    "fingerprint text, alert_type text, severity integer, summary text, "
    "device_id text DEFAULT NULL, site_id uuid DEFAULT NULL, rule_id uuid DEFAULT NULL, "
    "details jsonb DEFAULT '{}', confidence double precision DEFAULT 1, "
    "endpoint_id uuid DEFAULT NULL, tag_id bigint DEFAULT NULL, project_id uuid DEFAULT NULL, "
    "tenant uuid DEFAULT current_tenant()",
    returns="TABLE(alert_id bigint, is_new boolean, times bigint)",
    body=_RAISE_ALERT,
    grants=dict.fromkeys(("fleet_app", "fleet_operator"), "execute"),
    comment="Opens an alert, or increments the counter of the one with that fingerprint that is "
    "not closed; returns no row if a maintenance window covers it. project_id: that of "
    "endpoint_id.",
    metadata=Base.metadata,
)
