"""Functions that route, take, deliver and retry notifications."""

from __future__ import annotations

from ddl import Function
from models.shared.base import Base

# Of the rules that lead to the same channel one is enough; the unique key prevents duplicates.
_ROUTE = """
    BEGIN ATOMIC
      WITH matching AS (
        SELECT DISTINCT ON (r.channel_id) r.channel_id, r.id, a.severity,
               left(a.summary, 4096) AS summary
          FROM fleet_alert AS a
          JOIN notification_routing_rules AS r ON r.tenant_id = a.tenant_id AND r.is_enabled
          JOIN notification_channels AS c
            ON c.tenant_id = r.tenant_id AND c.id = r.channel_id AND c.is_enabled
         WHERE a.tenant_id = route_alert.tenant AND a.id = route_alert.alert
           AND (a.silenced_until IS NULL OR a.silenced_until <= now())
           AND route_alert.event = ANY (r.deliver_on)
           AND a.severity >= coalesce(r.min_severity, 1)
           AND (r.alert_types = '{}' OR a.alert_type = ANY (r.alert_types))
           AND (r.site_id IS NULL OR r.site_id = a.site_id)
           AND (r.project_id IS NULL OR r.project_id = route_alert.project)
           AND (r.device_prefixes = '{}' OR EXISTS (
                 SELECT FROM unnest(r.device_prefixes) AS p(prefix)
                  WHERE starts_with(a.device_id, p.prefix)))
           AND (r.device_tag IS NULL OR EXISTS (
                 SELECT FROM device_tags AS t
                  WHERE t.tenant_id = a.tenant_id AND t.device_id = a.device_id
                    AND t.tag = r.device_tag
                    AND (r.device_tag_value IS NULL OR r.device_tag_value = t.value)))
           AND NOT EXISTS (
                 SELECT
                   FROM notification_jobs AS j
                   JOIN fleet_alert AS b ON b.tenant_id = j.tenant_id AND b.id = j.alert_id
                  WHERE j.tenant_id = r.tenant_id AND j.rule_id = r.id
                    AND j.event = route_alert.event AND b.fingerprint = a.fingerprint
                    AND j.created_at > now() - make_interval(mins => r.throttle_minutes))
         ORDER BY r.channel_id, r.priority, r.id
      )
      INSERT INTO notification_jobs AS j
             (tenant_id, channel_id, rule_id, alert_id, event, occurrence, payload)
      SELECT route_alert.tenant, m.channel_id, m.id, route_alert.alert, route_alert.event,
             route_alert.occurrence,
             jsonb_build_object('severity', m.severity, 'summary', m.summary)
        FROM matching AS m
          ON CONFLICT DO NOTHING
      RETURNING j.id, j.channel_id;
    END
"""

# A job whose lease has expired is taken again like one that is due. A job that is too old, or has
# no attempts left, is finished here and not returned.
_TAKE = """
    BEGIN ATOMIC
      WITH due AS MATERIALIZED (
        SELECT j.tenant_id, j.id
          FROM notification_jobs AS j
          JOIN notification_channels AS c ON c.tenant_id = j.tenant_id AND c.id = j.channel_id
         WHERE j.status IN ('pending', 'processing') AND j.next_run_at <= now()
           AND (j.status = 'pending' OR j.locked_until <= now())
           AND (c.is_enabled OR j.expires_at <= now())
         ORDER BY j.next_run_at
         LIMIT take_notification_jobs.wanted
           FOR NO KEY UPDATE OF j SKIP LOCKED
      ), judged AS (
        SELECT j.tenant_id, j.id,
               CASE WHEN j.expires_at <= now() THEN 'canceled'
                    WHEN j.attempts >= j.max_attempts THEN 'failed'
                    ELSE 'processing' END AS status
          FROM due AS d
          JOIN notification_jobs AS j ON j.tenant_id = d.tenant_id AND j.id = d.id
      ), taken AS (
        UPDATE notification_jobs AS j
           SET status = d.status,
               attempts = j.attempts + CASE d.status WHEN 'processing' THEN 1 ELSE 0 END,
               worker = CASE d.status WHEN 'processing' THEN take_notification_jobs.worker END,
               locked_until = CASE d.status
                 WHEN 'processing' THEN now() + take_notification_jobs.lease END,
               finished_at = CASE WHEN d.status <> 'processing' THEN now() END,
               last_error = CASE d.status WHEN 'canceled' THEN 'not delivered in time'
                 WHEN 'failed' THEN coalesce(j.last_error, 'the worker fell silent')
                 ELSE j.last_error END
          FROM judged AS d
         WHERE j.tenant_id = d.tenant_id AND j.id = d.id
        RETURNING j.tenant_id, j.id, j.status, j.channel_id, j.alert_id, j.incident_id, j.event,
                  j.user_id, j.payload, j.attempts
      )
      SELECT t.tenant_id, t.id, t.channel_id, t.alert_id, t.incident_id, t.event, t.user_id,
             t.payload, t.attempts
        FROM taken AS t
       WHERE t.status = 'processing';
    END
"""

# Only the worker that holds the job can finish it. The delay doubles from half a minute up to an
# hour, with random jitter, so that jobs that failed together are not retried together.
_FINISH = """
    BEGIN ATOMIC
      WITH done AS (
        UPDATE notification_jobs AS j
           SET status = o.status,
               locked_until = NULL,
               last_error = finish_notification_job.error,
               finished_at = CASE WHEN o.status <> 'pending' THEN now() END,
               next_run_at = CASE WHEN o.status <> 'pending' THEN j.next_run_at
                 ELSE now() + make_interval(
                   secs => least(3600, 30 * 2 ^ (least(j.attempts, 20) - 1))
                           * (1 + random() / 4)) END
          FROM (SELECT h.tenant_id, h.id,
                       CASE WHEN finish_notification_job.delivered THEN 'completed'
                            WHEN h.attempts >= h.max_attempts THEN 'failed'
                            ELSE 'pending' END AS status
                  FROM notification_jobs AS h
                 WHERE h.tenant_id = finish_notification_job.tenant
                   AND h.id = finish_notification_job.job) AS o
         WHERE j.tenant_id = o.tenant_id AND j.id = o.id
           AND j.status = 'processing' AND j.worker = finish_notification_job.worker
        RETURNING j.tenant_id, j.id, j.channel_id, j.alert_id, j.incident_id, j.event,
                  j.attempts, j.status
      ), logged AS (
        INSERT INTO timeseries.notification_log
               (tenant_id, ts, id, channel_id, job_id, alert_id, incident_id, event, attempt,
                success, error, duration_ms)
        SELECT d.tenant_id, now(), uuid7(), d.channel_id, d.id, d.alert_id, d.incident_id,
               d.event, d.attempts, finish_notification_job.delivered,
               finish_notification_job.error, finish_notification_job.duration_ms
          FROM done AS d
      )
      SELECT d.status FROM done AS d;
    END
"""

Function(
    "route_alert",
    "alert bigint, event text, occurrence integer DEFAULT 0, project uuid DEFAULT NULL, "
    "tenant uuid DEFAULT current_tenant()",
    returns="TABLE(job_id uuid, channel_id uuid)",
    body=_ROUTE,
    grants=dict.fromkeys(("fleet_app", "fleet_operator"), "execute"),
    comment="Queues the notifications of an alert according to the routing rules: once per "
    "channel, event and occurrence, and not while silenced or throttled. project: that of its "
    "endpoint.",
    metadata=Base.metadata,
)

Function(
    "take_notification_jobs",
    "worker text, wanted integer DEFAULT 10, lease interval DEFAULT '00:05:00'",
    returns="TABLE(tenant_id uuid, job_id uuid, channel_id uuid, alert_id bigint, "
    "incident_id uuid, event text, user_id uuid, payload jsonb, attempt integer)",
    body=_TAKE,
    grants=dict.fromkeys(("fleet_app", "fleet_operator"), "execute"),
    comment="Returns jobs that are due, each to one caller only until its lease ends: those of all "
    "tenants to fleet_operator, those of the current tenant to fleet_app.",
    metadata=Base.metadata,
)

Function(
    "finish_notification_job",
    "job uuid, worker text, delivered boolean, error text DEFAULT NULL, "
    "duration_ms double precision DEFAULT NULL, tenant uuid DEFAULT current_tenant()",
    returns="text",
    body=_FINISH,
    grants={"fleet_operator": "execute"},
    comment="Ends an attempt and logs it; returns completed, pending (retried later) or failed "
    "(no attempts left), or NULL if the worker no longer holds the job.",
    metadata=Base.metadata,
)
