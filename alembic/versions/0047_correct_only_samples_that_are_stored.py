"""Correct only samples that are stored

Revision 0047, after 0046; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"


def upgrade() -> None:
    op.create_function(
        "correct_tag_values",
        "tenants uuid[], tags bigint[], connections uuid[], times timestamptz[], numbers double precision[], texts"
            " text[], truths boolean[], structures jsonb[], qualities integer[]",
        returns="bigint", language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  corrected bigint;\n"
            "begin\n"
            "  with offered as materialized (\n"
            "    select n.tenant_id, n.tag_id, n.ts, n.connection_id, n.quality, n.v_num, n.v_text, n.v_bool,"
            " n.v_json\n"
            "      from unnest(tenants, tags, connections, times, numbers, texts, truths, structures,\n"
            "                  qualities)\n"
            "           as n (tenant_id, tag_id, connection_id, ts, v_num, v_text, v_bool, v_json,\n"
            "                 quality)\n"
            "  ), ranges as materialized (\n"
            "    select o.tenant_id, o.tag_id, min(o.ts) as first, max(o.ts) as last\n"
            "      from offered o\n"
            "     group by o.tenant_id, o.tag_id, date_trunc('hour', o.ts, 'UTC')\n"
            "  ), known as (\n"
            "    select k.*\n"
            "      from ranges r, lateral (\n"
            "           select v.tenant_id, v.tag_id, v.ts, v.connection_id, v.quality, v.v_num, v.v_text, v.v_bool,"
            " v.v_json\n"
            "             from timeseries.tag_values v\n"
            "            where v.tenant_id = r.tenant_id and v.tag_id = r.tag_id\n"
            "              and v.ts between r.first and r.last\n"
            "           offset 0) k\n"
            "  ), changed as (\n"
            "    insert into timeseries.tag_values as t (tenant_id, tag_id, ts, connection_id, quality, v_num, v_text,"
            " v_bool, v_json)\n"
            "    select n.tenant_id, n.tag_id, n.ts, (array_agg(n.connection_id))[1],\n"
            "           n.quality, n.v_num, n.v_text, n.v_bool, n.v_json\n"
            "      from (select u.*, bool_or(u.there) over (\n"
            "                     partition by u.tenant_id, u.tag_id, u.ts) as stored\n"
            "              from (select o.*, false as there from offered o\n"
            "                    union all select k.*, true from known k) u) n\n"
            "     where n.stored\n"
            "     group by n.tenant_id, n.tag_id, n.ts, n.quality, n.v_num, n.v_text, n.v_bool, n.v_json\n"
            "    having not bool_or(n.there)\n"
            "     order by n.tenant_id, n.tag_id, n.ts\n"
            "    on conflict (tenant_id, tag_id, ts) do update\n"
            "       set connection_id = excluded.connection_id,\n"
            "           quality = excluded.quality, v_num = excluded.v_num, v_text = excluded.v_text, v_bool ="
            " excluded.v_bool, v_json = excluded.v_json\n"
            "     where (t.quality, t.v_num, t.v_text, t.v_bool, t.v_json)\n"
            "           is distinct from (excluded.quality, excluded.v_num, excluded.v_text, excluded.v_bool,"
            " excluded.v_json)\n"
            "    returning 1\n"
            "  )\n"
            "  select count(*) into corrected from changed;\n"
            "  return corrected;\n"
            "end"
        ),
        comment="Corrects samples of tags that are stored, an element of each array per sample, no two of one tag and"
            " moment. An equal value changes nothing. Returns how many were corrected.",
        grants={"fleet_ingest": "execute"},
    )
    # accept ban-drop-function: only the ingest calls it, which calls the new one from this version on
    op.drop_function(
        "merge_tag_values",
        "tenants uuid[], tags bigint[], connections uuid[], times timestamp with time zone[], numbers double"
            " precision[], texts text[], truths boolean[], structures jsonb[], qualities integer[], OUT stored"
            " bigint, OUT corrected bigint",
    )


def downgrade() -> None:
    op.create_function(
        "merge_tag_values",
        "tenants uuid[], tags bigint[], connections uuid[], times timestamp with time zone[], numbers double"
            " precision[], texts text[], truths boolean[], structures jsonb[], qualities integer[], OUT stored"
            " bigint, OUT corrected bigint",
        returns="record", language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  with offered as materialized (\n"
            "    select n.tenant_id, n.tag_id, n.ts, n.connection_id, n.quality, n.v_num, n.v_text, n.v_bool,"
            " n.v_json\n"
            "      from unnest(tenants, tags, connections, times, numbers, texts, truths, structures,\n"
            "                  qualities)\n"
            "           as n (tenant_id, tag_id, connection_id, ts, v_num, v_text, v_bool, v_json,\n"
            "                 quality)\n"
            "  ), ranges as materialized (\n"
            "    select o.tenant_id, o.tag_id, min(o.ts) as first, max(o.ts) as last\n"
            "      from offered o\n"
            "     group by o.tenant_id, o.tag_id, date_trunc('hour', o.ts, 'UTC')\n"
            "  ), known as (\n"
            "    select k.*\n"
            "      from ranges r, lateral (\n"
            "           select v.tenant_id, v.tag_id, v.ts, v.connection_id, v.quality, v.v_num, v.v_text, v.v_bool,"
            " v.v_json\n"
            "             from timeseries.tag_values v\n"
            "            where v.tenant_id = r.tenant_id and v.tag_id = r.tag_id\n"
            "              and v.ts between r.first and r.last\n"
            "           offset 0) k\n"
            "  ), changed as (\n"
            "    insert into timeseries.tag_values as t (tenant_id, tag_id, ts, connection_id, quality, v_num, v_text,"
            " v_bool, v_json)\n"
            "    select n.tenant_id, n.tag_id, n.ts, (array_agg(n.connection_id))[1],\n"
            "           n.quality, n.v_num, n.v_text, n.v_bool, n.v_json\n"
            "      from (select o.*, false as there from offered o\n"
            "            union all select k.*, true from known k) n\n"
            "     group by n.tenant_id, n.tag_id, n.ts, n.quality, n.v_num, n.v_text, n.v_bool, n.v_json\n"
            "    having not bool_or(n.there)\n"
            "     order by n.tenant_id, n.tag_id, n.ts\n"
            "    on conflict (tenant_id, tag_id, ts) do update\n"
            "       set connection_id = excluded.connection_id,\n"
            "           quality = excluded.quality, v_num = excluded.v_num, v_text = excluded.v_text, v_bool ="
            " excluded.v_bool, v_json = excluded.v_json\n"
            "     where (t.quality, t.v_num, t.v_text, t.v_bool, t.v_json)\n"
            "           is distinct from (excluded.quality, excluded.v_num, excluded.v_text, excluded.v_bool,"
            " excluded.v_json)\n"
            "    returning t.xmax = 0 as new\n"
            "  )\n"
            "  select count(*) filter (where c.new), count(*) filter (where not c.new)\n"
            "    into stored, corrected\n"
            "    from changed c;\n"
            "end"
        ),
        comment="Stores samples of tags, an element of each array per sample, no two of one tag and moment. A later"
            " value corrects the one that is there; an equal one changes nothing. Returns the number of new samples"
            " and of corrected ones.",
        grants={"fleet_ingest": "execute"},
    )
    op.drop_function(
        "correct_tag_values",
        "tenants uuid[], tags bigint[], connections uuid[], times timestamptz[], numbers double precision[], texts"
            " text[], truths boolean[], structures jsonb[], qualities integer[]",
    )
