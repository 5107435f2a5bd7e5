"""The queries of :mod:`ddl.unmanaged` for what only a database with TimescaleDB has."""

from __future__ import annotations

from ddl.rollup_indexes import DECLARABLE

# Of policies all but what their own kinds compare, of each relation's first job of a kind. The
# expected values are those of the same policy in the shadow: they depend on the chunk interval.
JOBS = """
, jobs AS (
    SELECT j.*, coalesce(a.view_schema, j.hypertable_schema) AS schema,
           coalesce(a.view_name, j.hypertable_name) AS relation,
           row_number() OVER (PARTITION BY j.proc_name, j.hypertable_schema, j.hypertable_name
                              ORDER BY j.job_id) AS number,
           k.type, coalesce(j.config, '{}') - k.fields AS more, k.fields
      FROM timescaledb_information.jobs j
      JOIN (VALUES ('policy_retention', 'retention policy',
                    ARRAY['hypertable_id', 'drop_after']),
                   ('policy_compression', 'columnstore',
                    ARRAY['hypertable_id', 'compress_after']),
                   ('policy_refresh_continuous_aggregate', 'refresh policy',
                    ARRAY['mat_hypertable_id', 'start_offset', 'end_offset']))
           k (proc_name, type, fields) ON k.proc_name = j.proc_name
      LEFT JOIN timescaledb_information.continuous_aggregates a
        ON (a.materialization_hypertable_schema, a.materialization_hypertable_name)
         = (j.hypertable_schema, j.hypertable_name)
        OR (a.view_schema, a.view_name) = (j.hypertable_schema, j.hypertable_name)
     WHERE coalesce(a.view_schema, j.hypertable_schema) IN (SELECT nspname FROM ours)
)
SELECT schema::text, type, format('%I.%I', schema, relation) AS name, relation::text AS of,
       p.detail,
       CASE WHEN (type, p.detail) = ('refresh policy', 'retry_period')
            THEN schedule_interval::text END AS expected, p.found,
       format('SELECT alter_job(%s, %s)', job_id, p.mend) AS mend
  FROM jobs CROSS JOIN LATERAL (VALUES
       ('schedule_interval', schedule_interval::text,
        'schedule_interval => INTERVAL ''{expected}'''),
       ('max_runtime', max_runtime::text, 'max_runtime => INTERVAL ''{expected}'''),
       ('max_retries', max_retries::text, 'max_retries => {expected}'),
       ('retry_period', retry_period::text, 'retry_period => INTERVAL ''{expected}'''),
       ('fixed_schedule', fixed_schedule::text, 'fixed_schedule => {expected}'),
       ('config', more::text,
        format('config => %L::jsonb || ''{expected}''', coalesce(config, '{}') - ARRAY(
               SELECT jsonb_object_keys(more))))) p (detail, found, mend)
 WHERE number = 1 AND (type, p.detail) <> ('refresh policy', 'schedule_interval')
   -- That of a refresh is its schedule, unless a person set another.
   AND NOT ((type, p.detail) = ('refresh policy', 'retry_period')
            AND retry_period = schedule_interval)
UNION ALL
SELECT schema, 'job', format('%s: a further %s of %I.%I', job_id, type, schema, relation), relation,
       '', NULL, NULL, format('SELECT delete_job(%s)', job_id) FROM jobs WHERE number > 1
"""

# Those that a rollup declares, or could, are part of its own state. Others are invalid, more than a
# list of columns, or the second over the same.
ROLLUP_INDEXES = f"""
SELECT schema, 'index' AS type, name || CASE WHEN number > 1 THEN ' ' || number ELSE '' END AS name,
       relation AS of, mend
  FROM (SELECT a.view_schema::text AS schema, a.view_name::text AS relation,
               format('%I.%I %s', a.view_schema, a.view_name, d.definition) AS name,
               row_number() OVER (PARTITION BY a.view_schema, a.view_name, d.definition
                                  ORDER BY i.indisvalid DESC, i.indexrelid) AS number,
               i.indisvalid AND {DECLARABLE} AS own,
               format('DROP INDEX %s', i.indexrelid::regclass) AS mend
          FROM timescaledb_information.continuous_aggregates a
          JOIN pg_index i ON i.indrelid = format(
               '%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name
               )::regclass
         CROSS JOIN LATERAL (SELECT regexp_replace(
               pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX .*? USING', '\\1USING'))
               d (definition)
         WHERE a.view_schema IN (SELECT nspname FROM ours)) found
 WHERE number > 1 OR NOT own
"""

DIMENSIONS = """
SELECT d.hypertable_schema::text AS schema, 'hypertable' AS type,
       format('%I.%I', d.hypertable_schema, d.hypertable_name) AS name,
       d.hypertable_name::text AS of,
       'dimension ' || d.column_name AS detail, NULL AS expected,
       coalesce(d.num_partitions || ' partitions', d.time_interval::text,
                d.integer_interval::text) AS found,
       '-- no command: a dimension stays until the rows are moved to a new table' AS mend
  FROM timescaledb_information.dimensions d
 WHERE d.hypertable_schema IN (SELECT nspname FROM ours) AND d.dimension_number > 1
UNION ALL
SELECT h.hypertable_schema, 'hypertable', format('%I.%I', h.hypertable_schema, h.hypertable_name),
       h.hypertable_name, 'tablespaces', NULL, array_to_string(h.tablespaces, ', '),
       format('SELECT detach_tablespaces(%L)',
              format('%I.%I', h.hypertable_schema, h.hypertable_name))
  FROM timescaledb_information.hypertables h
 WHERE h.hypertable_schema IN (SELECT nspname FROM ours) AND h.tablespaces <> '{}'
"""

# TimescaleDB copies the grants of a hypertable or rollup to what is behind it; who has more there
# reads past the views. Where no parent is known, what is granted on any of them counts.
GRANTS_BEHIND = """
, behind AS (
    SELECT c.oid, c.relname, c.relacl, c.relowner, coalesce(i.inhparent, to_regclass(
               quote_ident(a.view_schema) || '.' || quote_ident(a.view_name))) AS parent
      FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
      LEFT JOIN timescaledb_information.continuous_aggregates a
        ON (a.materialization_hypertable_schema, a.materialization_hypertable_name)
         = ('_timescaledb_internal', c.relname)
     WHERE c.relnamespace = to_regnamespace('_timescaledb_internal') AND c.relkind IN ('r', 'v')
       AND (c.relacl IS NOT NULL OR EXISTS (
            SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL))
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                          AND e.objid = c.oid AND e.deptype = 'e')
),
held AS (
    SELECT b.oid, b.relname, b.parent, g.grantee, g.privilege_type || l.columns AS privilege
      FROM behind b CROSS JOIN LATERAL (
           SELECT '' AS columns, b.relacl AS acl
           UNION ALL SELECT format(' (%I)', t.attname), t.attacl FROM pg_attribute t
            WHERE t.attrelid = b.oid AND t.attacl IS NOT NULL) l
     CROSS JOIN LATERAL aclexplode(l.acl) g WHERE g.grantee <> b.relowner
),
series AS (
    SELECT to_regclass(format('%I.%I', hypertable_schema, hypertable_name))::oid AS oid
      FROM timescaledb_information.hypertables
    UNION ALL SELECT to_regclass(format('%I.%I', view_schema, view_name))
      FROM timescaledb_information.continuous_aggregates
),
granted AS (
    SELECT k.parent, g.grantee, g.privilege_type AS privilege
      FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g
     CROSS JOIN LATERAL (SELECT c.oid AS parent
                         UNION ALL SELECT 0 WHERE c.oid IN (SELECT oid FROM series)) k
     WHERE c.oid IN (SELECT parent FROM behind UNION ALL SELECT oid FROM series)
)
SELECT '_timescaledb_internal' AS schema, 'grant' AS type, '_timescaledb_internal.' || h.relname
           AS name,
       NULL AS of, g.role AS detail, NULL AS expected,
       string_agg(h.privilege, ', ' ORDER BY h.privilege) AS found,
       format('REVOKE %s ON _timescaledb_internal.%I FROM %s',
              string_agg(h.privilege, ', ' ORDER BY h.privilege), h.relname, g.role) AS mend
  FROM held h CROSS JOIN LATERAL (
       SELECT CASE h.grantee WHEN 0 THEN 'PUBLIC'
                             ELSE quote_ident(pg_get_userbyid(h.grantee)) END) g (role)
 WHERE NOT EXISTS (SELECT FROM granted p
                    WHERE (p.parent, p.grantee, p.privilege)
                        = (coalesce(h.parent, 0), h.grantee, h.privilege))
 GROUP BY h.relname, g.role
"""

ALL = (JOBS, DIMENSIONS, GRANTS_BEHIND, ROLLUP_INDEXES)

# What is in no schema.
ACTIONS = """
SELECT '' AS schema, 'job' AS type, format('%s: %I.%I', job_id, proc_schema, proc_name) AS name,
       NULL AS of, format('SELECT delete_job(%s)', job_id) AS mend
  FROM timescaledb_information.jobs j JOIN pg_roles o ON o.oid = j.owner::regrole
 WHERE NOT starts_with(proc_schema, '_timescaledb_')
   AND (o.rolsuper OR o.oid IN (SELECT oid FROM runner)
        OR proc_schema IN (SELECT nspname FROM ours))
"""
