"""Correct samples of tags

Revision 0041, after 0040; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.alter_column(
        "tag_values", "quality", existing_type=sa.INTEGER(),
        comment="Status code of the driver; 0 is good. A code of 32 bits is a signed integer here: in OPC UA a"
            " negative one is bad, and to_hex() writes it as its specification does.",
        existing_comment="Status code of the driver; 0 is good.", existing_nullable=True, schema="timeseries",
    )
    op.alter_column(
        "tag_values", "v_json", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="Arrays and structures, and integers beyond 2^53, which v_num would round.",
        existing_comment="Arrays and structures.", existing_nullable=True, schema="timeseries",
    )
    op.create_function(
        "merge_tag_values",
        "tenants uuid[], tags bigint[], connections uuid[], times timestamptz[], numbers double precision[], texts"
            " text[], truths boolean[], structures jsonb[], qualities integer[], OUT stored bigint, OUT corrected"
            " bigint",
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


def downgrade() -> None:
    op.drop_function(
        "merge_tag_values",
        "tenants uuid[], tags bigint[], connections uuid[], times timestamptz[], numbers double precision[], texts"
            " text[], truths boolean[], structures jsonb[], qualities integer[], OUT stored bigint, OUT corrected"
            " bigint",
    )
    op.alter_column(
        "tag_values", "v_json", existing_type=postgresql.JSONB(astext_type=sa.Text()), comment="Arrays and structures.",
        existing_comment="Arrays and structures, and integers beyond 2^53, which v_num would round.",
        existing_nullable=True, schema="timeseries",
    )
    op.alter_column(
        "tag_values", "quality", existing_type=sa.INTEGER(), comment="Status code of the driver; 0 is good.",
        existing_comment="Status code of the driver; 0 is good. A code of 32 bits is a signed integer here: in OPC UA"
            " a negative one is bad, and to_hex() writes it as its specification does.",
        existing_nullable=True, schema="timeseries",
    )
