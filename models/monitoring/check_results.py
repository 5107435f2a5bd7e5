"""Recording a check: its effect on the status of the endpoint, and on incidents."""

from __future__ import annotations

from ddl import Function
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

FALLBACK_PCT = 80
"""Health (0 to 100) of an endpoint that is down and has a working fallback."""

Function(
    "endpoint_mode",
    "health_pct double precision",
    returns="text",
    body="""
        RETURN CASE WHEN health_pct >= 95 THEN 'optimal' WHEN health_pct >= 60 THEN 'degraded'
                    WHEN health_pct >= 40 THEN 'critical' ELSE 'down' END
    """,
    volatility="immutable",
    parallel="safe",
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "execute"),
    comment="The mode that corresponds to a health of 0 to 100.",
    metadata=Base.metadata,
)

Function(
    "endpoint_health",
    "of_tenant uuid, endpoint uuid, direct text",
    returns="TABLE(health_pct double precision, fallback uuid)",
    body=f"""
        BEGIN ATOMIC
          WITH needed AS (
            SELECT coalesce(sum(d.weight * s.health_pct) / nullif(sum(d.weight), 0), 100) AS pct
              FROM endpoint_dependencies d
              JOIN endpoint_status s
                ON s.tenant_id = d.tenant_id AND s.endpoint_id = d.depends_on_id
             WHERE d.tenant_id = of_tenant AND d.endpoint_id = endpoint
               AND d.role NOT IN ('fallback', 'optional')
          ), standing_in AS (
            SELECT d.depends_on_id AS id
              FROM endpoint_dependencies d
              JOIN endpoint_status s
                ON s.tenant_id = d.tenant_id AND s.endpoint_id = d.depends_on_id
             WHERE d.tenant_id = of_tenant AND d.endpoint_id = endpoint
               AND d.role = 'fallback' AND s.direct_status = 'healthy'
             ORDER BY d.weight DESC, d.depends_on_id LIMIT 1
          )
          SELECT CASE direct
                   WHEN 'down' THEN CASE WHEN f.id IS NULL THEN 0 ELSE {FALLBACK_PCT} END
                   WHEN 'degraded' THEN least(needed.pct, 75)
                   ELSE needed.pct END,
                 CASE direct WHEN 'down' THEN f.id END
            FROM needed LEFT JOIN standing_in f ON true;
        END
    """,
    volatility="stable",
    grants=dict.fromkeys(("fleet_app", "fleet_operator", "fleet_operator_read"), "execute"),
    comment="Health from 0 to 100 of an endpoint with this direct status, weighted by its "
    f"dependencies; {FALLBACK_PCT} if it is down and has a working fallback.",
    metadata=Base.metadata,
)

Function(
    "record_check",
    "endpoint uuid, due_at timestamptz, passed boolean, code integer DEFAULT NULL,"
    " took_ms double precision DEFAULT NULL, problem text DEFAULT NULL",
    returns="text",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        declare
          tenant uuid := public.current_tenant();
          failures integer;
          threshold integer;
          direct text;
          health record;
        begin
          insert into public.health_checks
                 (tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, error)
          values (tenant, due_at, endpoint, passed, code, took_ms, problem)
          on conflict do nothing;
          if not found then
            return 'repeated';
          end if;
          select s.consecutive_failures into failures from public.endpoint_status s
           where s.tenant_id = tenant and s.endpoint_id = endpoint for no key update;
          if not found then
            raise exception 'endpoint % does not exist in this tenant', endpoint
              using errcode = 'foreign_key_violation';
          end if;
          select coalesce(p.failure_threshold, j.default_failure_threshold) into threshold
            from public.endpoints e
            join public.projects j on j.tenant_id = e.tenant_id and j.id = e.project_id
            left join public.endpoint_alert_policies p
              on p.tenant_id = e.tenant_id and p.endpoint_id = e.id
           where e.tenant_id = tenant and e.id = endpoint;
          failures := case when passed then 0 else failures + 1 end;
          direct := case when passed then 'healthy' when failures >= threshold then 'down'
                         else 'degraded' end;
          select * into health from public.endpoint_health(tenant, endpoint, direct);
          update public.endpoint_status s
             set consecutive_failures = failures, direct_status = direct,
                 health_pct = health.health_pct, active_fallback_id = health.fallback,
                 mode = public.endpoint_mode(health.health_pct),
                 computed_status = case when health.health_pct >= 95 then 'healthy'
                                        when health.health_pct >= 40 then 'degraded'
                                        else 'down' end,
                 last_checked_at = greatest(s.last_checked_at, due_at), last_error = problem
           where s.tenant_id = tenant and s.endpoint_id = endpoint;
          if direct = 'down' then
            insert into public.incidents (tenant_id, title, severity, endpoint_id, project_id)
            select tenant, e.name || ' is down', 'high', e.id, e.project_id
              from public.endpoints e where e.tenant_id = tenant and e.id = endpoint
            on conflict do nothing;
          elsif passed then
            update public.incidents set status = 'resolved', resolution = 'a check passed again'
             where tenant_id = tenant and endpoint_id = endpoint and status <> 'resolved';
          end if;
          return direct;
        end
    """,
    grants={"fleet_app": "execute"},
    comment="Records the result of a check for the current tenant. Returns repeated if it was "
    "recorded before, else healthy, degraded or down. Failures up to the threshold open an "
    "incident; a check that passes resolves it.",
    metadata=Base.metadata,
)
