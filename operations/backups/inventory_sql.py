"""The queries of an inventory: each gives names and what is compared under them."""

from __future__ import annotations

_OURS = """n.nspname !~ '^(pg_|_timescaledb_|timescaledb_)' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.deptype = 'e'
                          AND e.classid = '{catalog}'::regclass AND e.objid = {oid})"""


def _ours(catalog: str, oid: str) -> str:
    """A condition: not the server's, not an extension's; "n" is the schema of the object."""
    return _OURS.format(catalog=catalog, oid=oid)


_TABLES = f"""
    SELECT n.nspname, c.relname, n.nspname, c.relname
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND {_ours("pg_class", "c.oid")}"""

RELATIONS = {
    False: f"SELECT * FROM ({_TABLES}) AS one (schema, name, stored_schema, stored_name)"
    " ORDER BY 1, 2",
    # Chunks may be in a schema of ours.
    True: f"""
    SELECT * FROM ({_TABLES}
       AND NOT EXISTS (SELECT FROM _timescaledb_catalog.chunk k
                        WHERE (k.schema_name, k.table_name) = (n.nspname, c.relname))
     UNION ALL
    SELECT view_schema, view_name, materialization_hypertable_schema,
           materialization_hypertable_name
      FROM timescaledb_information.continuous_aggregates
    ) AS one (schema, name, stored_schema, stored_name) ORDER BY 1, 2""",
}
"""By whether the database has TimescaleDB."""

SEQUENCES = f"""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'S' AND {_ours("pg_class", "c.oid")} ORDER BY 1, 2"""


def _privileges(acl: str, kind: str, owner: str) -> str:
    """An expression: owner and grants, whoever gave them, where none are written the usual ones."""
    return f"""format('owner %s', pg_get_userbyid({owner})) || coalesce((
        SELECT string_agg(format(', %s %s%s',
                   CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END,
                   a.privilege_type, CASE WHEN a.is_grantable THEN ' grantable' END),
               '' ORDER BY a.grantee = 0, pg_get_userbyid(a.grantee), a.privilege_type)
          FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) a), '')"""


DEFINITIONS = {
    "extension": """
        SELECT extname, extversion FROM pg_extension""",
    "schema": f"""
        SELECT n.nspname, {_privileges("n.nspacl", "n", "n.nspowner")}
          FROM pg_namespace n WHERE {_ours("pg_namespace", "n.oid")}""",
    "relation": f"""
        SELECT format('%I.%I', n.nspname, c.relname),
               format('%s, row security %s%s, %s, %s', c.relkind, c.relrowsecurity,
                      CASE WHEN c.relforcerowsecurity THEN ' forced' END, c.reloptions,
                      {_privileges("c.relacl", "r", "c.relowner")})
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND {_ours("pg_class", "c.oid")}""",
    "column": f"""
        SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname),
               concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                         CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                         pg_get_expr(d.adbin, d.adrelid),
                         nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
                         a.attstattarget, a.attoptions,
                         (SELECT string_agg(format('%s %s', g.grantee::regrole, g.privilege_type),
                                            ', ' ORDER BY g.grantee::regrole::text,
                                            g.privilege_type)
                            FROM aclexplode(a.attacl) g))
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
         WHERE c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
           AND {_ours("pg_class", "c.oid")}""",
    "constraint": f"""
        SELECT format('%s %I', coalesce(c.oid::regclass::text, 'domain'), k.conname),
               pg_get_constraintdef(k.oid)
          FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
          LEFT JOIN pg_class c ON c.oid = k.conrelid
         WHERE {_ours("pg_class", "k.conrelid")}""",
    "index": f"""
        SELECT format('%I.%I', n.nspname, c.relname),
               pg_get_indexdef(c.oid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {_ours("pg_class", "i.indrelid")}""",
    "view": f"""
        SELECT format('%I.%I', n.nspname, c.relname), pg_get_viewdef(c.oid)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('v', 'm') AND {_ours("pg_class", "c.oid")}""",
    "policy": f"""
        SELECT format('%s %I', c.oid::regclass, p.polname),
               concat_ws(' ', p.polcmd, CASE WHEN p.polpermissive THEN '' ELSE 'RESTRICTIVE' END,
                         'TO', (SELECT string_agg(r::regrole::text, ', ' ORDER BY r::regrole::text)
                                  FROM unnest(p.polroles) r),
                         'USING', pg_get_expr(p.polqual, p.polrelid),
                         'WITH CHECK', pg_get_expr(p.polwithcheck, p.polrelid))
          FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE {_ours("pg_class", "c.oid")}""",
    "trigger": f"""
        SELECT format('%s %I', c.oid::regclass, t.tgname),
               pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
          FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE NOT t.tgisinternal AND {_ours("pg_class", "c.oid")}""",
    "event trigger": """
        SELECT evtname, format('%s %s %s %s', evtevent, evtfoid::regproc, evtenabled,
                               evtowner::regrole)
          FROM pg_event_trigger e
         WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e'
                              AND d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid)""",
    "function": f"""
        SELECT p.oid::regprocedure::text,
               md5(regexp_replace(pg_get_functiondef(p.oid), '[()[:space:]]+', '', 'g'))
               || ' ' || {_privileges("p.proacl", "f", "p.proowner")}
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE p.prokind IN ('f', 'p', 'w') AND {_ours("pg_proc", "p.oid")}""",
    "type": f"""
        SELECT format('%I.%I', n.nspname, t.typname),
               concat_ws(' ', t.typtype, CASE WHEN t.typbasetype <> 0
                              THEN format_type(t.typbasetype, t.typtypmod) END,
                         (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
                            FROM pg_enum e WHERE e.enumtypid = t.oid),
                         {_privileges("t.typacl", "T", "t.typowner")})
          FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
         WHERE t.typtype IN ('d', 'e', 'r', 'm') AND {_ours("pg_type", "t.oid")}""",
    "default privileges": """
        SELECT format('%s %s %s', defaclrole::regrole, defaclnamespace::regnamespace,
                      defaclobjtype),
               (SELECT string_agg(a::text, ', ' ORDER BY a::text) FROM unnest(defaclacl) a)
          FROM pg_default_acl""",
    "comment": f"""
        SELECT format('%s %s', o.type, o.identity), md5(d.description)
          FROM pg_description d JOIN pg_class c ON c.oid = d.objoid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) o
         WHERE d.classoid = 'pg_class'::regclass AND {_ours("pg_class", "c.oid")}""",
}
"""By kind of object."""

TIMESCALEDB = {
    "hypertable": """
        SELECT format('%I.%I', d.hypertable_schema, d.hypertable_name),
               string_agg(concat_ws(' ', d.column_name, d.time_interval, d.integer_interval,
                                    d.num_partitions), ', ' ORDER BY d.dimension_number)
          FROM timescaledb_information.dimensions d GROUP BY 1""",
    "columnstore": """
        SELECT hypertable::text,
               concat_ws(' ', 'segmentby', segmentby, 'orderby', orderby)
          FROM timescaledb_information.hypertable_columnstore_settings""",
    "rollup": """
        SELECT format('%I.%I', a.view_schema, a.view_name),
               format('materialized only %s, columnstore %s, until %s', a.materialized_only,
                      a.compression_enabled, w.watermark)
          FROM timescaledb_information.continuous_aggregates a
          JOIN _timescaledb_catalog.continuous_agg c
            ON (c.user_view_schema, c.user_view_name) = (a.view_schema, a.view_name)
          LEFT JOIN _timescaledb_catalog.continuous_aggs_watermark w
            ON w.mat_hypertable_id = c.mat_hypertable_id""",
    "chunk": """
        SELECT format('%I.%I', k.chunk_schema, k.chunk_name),
               format('of %I.%I, %s to %s%s, %s', k.hypertable_schema, k.hypertable_name,
                      coalesce(k.range_start::text, k.range_start_integer::text),
                      coalesce(k.range_end::text, k.range_end_integer::text),
                      CASE WHEN k.is_compressed THEN ', in the columnstore' END,
                      (SELECT string_agg(a::text, ', ' ORDER BY a::text)
                         FROM unnest(c.relacl) a))
          FROM timescaledb_information.chunks k
          JOIN pg_class c ON c.oid = format('%I.%I', k.chunk_schema, k.chunk_name)::regclass""",
    "job": """
        SELECT format('%s %s %s', j.job_id, j.proc_name,
                      coalesce(quote_ident(j.hypertable_schema) || '.'
                               || quote_ident(j.hypertable_name), '')),
               format('every %s, at most %s, retries %s after %s, %s, owner %s',
                      j.schedule_interval, j.max_runtime, j.max_retries, j.retry_period, j.config,
                      j.owner)
          FROM timescaledb_information.jobs j WHERE j.job_id >= 1000""",
}
"""The same of TimescaleDB, whose chunks are not among the relations."""
