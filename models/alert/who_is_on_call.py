"""Who is on call at a given moment, from rotations and overrides."""

from __future__ import annotations

from ddl import Function
from models.shared.base import Base

# Shifts are counted in the local time of the schedule, so that a hand-off at nine stays at nine
# when daylight saving begins. The first shift is the one that covers the start of the layer.
# Members who are not active are skipped.
_WHO_IS_ON_CALL = """
    BEGIN ATOMIC
      WITH layers AS (
        SELECT l.id, l.layer_order, l.shift_duration_hours,
               who_is_on_call.moment AT TIME ZONE s.timezone AS clock,
               CASE l.rotation_type WHEN 'weekly' THEN interval '7 days'
                                    ELSE interval '1 day' END AS step,
               CASE l.rotation_type
                 WHEN 'weekly' THEN
                   date_trunc('week', l.starts_at AT TIME ZONE s.timezone)
                   + make_interval(days => l.handoff_day - 1, hours => l.handoff_hour)
                 ELSE date_trunc('day', l.starts_at AT TIME ZONE s.timezone)
                      + make_interval(hours => l.handoff_hour)
               END AS handoff,
               l.starts_at AT TIME ZONE s.timezone AS start
          FROM oncall_schedules AS s
          JOIN oncall_layers AS l ON l.tenant_id = s.tenant_id AND l.schedule_id = s.id
         WHERE s.tenant_id = who_is_on_call.tenant AND s.id = who_is_on_call.schedule
           AND l.starts_at <= who_is_on_call.moment
           AND (l.ends_at IS NULL OR l.ends_at > who_is_on_call.moment)
      ), turns AS (
        SELECT l.id, l.layer_order,
               -- When daylight saving ends, an hour repeats: local time may be before the start.
               greatest(0, floor(extract(epoch FROM l.clock - (
                 CASE WHEN l.handoff > l.start THEN l.handoff - l.step ELSE l.handoff END))
                 / 3600 / l.shift_duration_hours))::bigint AS shift
          FROM layers AS l
      ), responders AS (
        SELECT r.layer_id, r.user_id,
               row_number() OVER (PARTITION BY r.layer_id ORDER BY r.position) - 1 AS turn,
               count(*) OVER (PARTITION BY r.layer_id) AS people
          FROM turns AS t
          JOIN oncall_responders AS r
            ON r.tenant_id = who_is_on_call.tenant AND r.layer_id = t.id
          JOIN tenant_members AS m
            ON m.tenant_id = r.tenant_id AND m.user_id = r.user_id AND m.status = 'active'
      ), overrides AS (
        SELECT o.id, o.layer_id, o.user_id
          FROM oncall_overrides AS o
          JOIN tenant_members AS m
            ON m.tenant_id = o.tenant_id AND m.user_id = o.user_id AND m.status = 'active'
         WHERE o.tenant_id = who_is_on_call.tenant AND o.schedule_id = who_is_on_call.schedule
           AND o.starts_at <= who_is_on_call.moment AND o.ends_at > who_is_on_call.moment
      )
      SELECT 0 AS layer_order, NULL::uuid AS layer_id, o.user_id, o.id AS override_id
        FROM overrides AS o
       WHERE o.layer_id IS NULL
      UNION ALL
      SELECT t.layer_order, t.id, coalesce(o.user_id, r.user_id), o.id
        FROM turns AS t
        LEFT JOIN overrides AS o ON o.layer_id = t.id
        LEFT JOIN responders AS r ON r.layer_id = t.id AND r.turn = t.shift % r.people
       WHERE coalesce(o.user_id, r.user_id) IS NOT NULL
         AND NOT EXISTS (SELECT FROM overrides AS a WHERE a.layer_id IS NULL)
       ORDER BY 1;
    END
"""

Function(
    "who_is_on_call",
    "schedule uuid, moment timestamptz DEFAULT now(), tenant uuid DEFAULT current_tenant()",
    returns="TABLE(layer_order integer, layer_id uuid, user_id uuid, override_id uuid)",
    body=_WHO_IS_ON_CALL,
    volatility="stable",
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "execute"),
    comment="Who is on call at that moment, in the order of calling: one person per layer, or one "
    "for all layers (layer_id NULL) during an override of the whole schedule.",
    metadata=Base.metadata,
)
