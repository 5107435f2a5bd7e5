"""compare values of one moment without compiling

Revision 0090, after 0089; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0090"
down_revision = "0089"


def upgrade() -> None:
    op.replace_function(
        "metrics_stored_otherwise", "tenants uuid[], devices text[], states jsonb[], times jsonb[]",
        returns="TABLE(number bigint, tenant_id uuid, device_id text, metrics text[])", language="plpgsql",
        volatility="stable", security_definer=True,
        settings=["enable_nestloop=off", "jit=off", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "begin\n"
            "  return query\n"
            "    with given as materialized (\n"
            "      select n.number, n.tenant_id, n.device_id, n.state, m.ts, m.metrics\n"
            "        from unnest(tenants, devices, states, times) with ordinality\n"
            "               as n (tenant_id, device_id, state, times, number),\n"
            "             lateral (\n"
            "               select to_timestamp(g.value::double precision) as ts,\n"
            "                      array_agg(g.key) as metrics\n"
            "                 from jsonb_each_text(n.times) as g group by 1) as m\n"
            "    ), stored as materialized (\n"
            "      select n.tenant_id, n.device_id, n.ts, s.metrics\n"
            "        from (select distinct g.tenant_id, g.device_id, g.ts from given g) as n,\n"
            "             lateral (\n"
            "               select jsonb_object_agg(m.key, m.value\n"
            '                        order by t.seq, t.msg_type collate "C") as metrics\n'
            "                 from (\n"
            "                   select t.metrics as metrics, t.seq, t.msg_type\n"
            "                     from timeseries.telemetry t\n"
            "                    where t.tenant_id = n.tenant_id and t.device_id = n.device_id\n"
            "                      and t.ts = n.ts\n"
            "                   offset 0) as t,\n"
            "                   lateral jsonb_each(t.metrics) as m) as s\n"
            "    )\n"
            "    select g.number, g.tenant_id, g.device_id, array_agg(a.metric)\n"
            "      from given g\n"
            "      join stored s using (tenant_id, device_id, ts),\n"
            "           lateral unnest(g.metrics) as a (metric)\n"
            "     where s.metrics -> a.metric is distinct from g.state -> a.metric\n"
            "     group by 1, 2, 3;\n"
            "end"
        ),
        comment="Which of the metrics of devices, given with their times in seconds since 1970, have another value in"
            " the stored message of that moment with the highest seq, or none; number is that of the element.",
    )


def downgrade() -> None:
    op.replace_function(
        "metrics_stored_otherwise", "tenants uuid[], devices text[], states jsonb[], times jsonb[]",
        returns="TABLE(number bigint, tenant_id uuid, device_id text, metrics text[])", language="plpgsql",
        volatility="stable", security_definer=True, settings=["enable_nestloop=off", "search_path=pg_catalog, pg_temp"],
        body=(
            "#variable_conflict use_column\n"
            "begin\n"
            "  return query\n"
            "    with given as materialized (\n"
            "      select n.number, n.tenant_id, n.device_id, n.state, m.ts, m.metrics\n"
            "        from unnest(tenants, devices, states, times) with ordinality\n"
            "               as n (tenant_id, device_id, state, times, number),\n"
            "             lateral (\n"
            "               select to_timestamp(g.value::double precision) as ts,\n"
            "                      array_agg(g.key) as metrics\n"
            "                 from jsonb_each_text(n.times) as g group by 1) as m\n"
            "    ), stored as materialized (\n"
            "      select n.tenant_id, n.device_id, n.ts, s.metrics\n"
            "        from (select distinct g.tenant_id, g.device_id, g.ts from given g) as n,\n"
            "             lateral (\n"
            "               select jsonb_object_agg(m.key, m.value\n"
            '                        order by t.seq, t.msg_type collate "C") as metrics\n'
            "                 from (\n"
            "                   select t.metrics as metrics, t.seq, t.msg_type\n"
            "                     from timeseries.telemetry t\n"
            "                    where t.tenant_id = n.tenant_id and t.device_id = n.device_id\n"
            "                      and t.ts = n.ts\n"
            "                   offset 0) as t,\n"
            "                   lateral jsonb_each(t.metrics) as m) as s\n"
            "    )\n"
            "    select g.number, g.tenant_id, g.device_id, array_agg(a.metric)\n"
            "      from given g\n"
            "      join stored s using (tenant_id, device_id, ts),\n"
            "           lateral unnest(g.metrics) as a (metric)\n"
            "     where s.metrics -> a.metric is distinct from g.state -> a.metric\n"
            "     group by 1, 2, 3;\n"
            "end"
        ),
        comment="Which of the metrics of devices, given with their times in seconds since 1970, have another value in"
            " the stored message of that moment with the highest seq, or none; number is that of the element.",
    )
