"""Queries of the catalog for what no kind of object reads; see :mod:`ddl.kinds.unmanaged`.

Each follows ``WITH`` and :data:`OURS`, and returns fields of
:class:`~ddl.kinds.unmanaged.UnmanagedState`.
"""

from __future__ import annotations

SUPERUSERS_SCHEMA = "fleet_hardening"
"""What a superuser makes for the runner, outside the revisions, and no comparison looks at: the
function of an event trigger (`database.refused_ddl`)."""

# Who has to own what is ours: whoever runs the revisions, and so made Alembic's own table.
OURS = """
ours AS (SELECT oid, nspname, nspowner FROM pg_namespace
          WHERE nspname = ANY (CAST(:schemas AS name[]))),
runner AS (SELECT r.oid, r.rolname FROM pg_roles r
            WHERE r.oid = coalesce((SELECT relowner FROM pg_class
                                     WHERE oid = to_regclass('public.alembic_version')),
                                   quote_ident(current_user)::regrole))
"""

# Of each catalog what no other kind reads. Types that come with a table or a range depend on it
# internally, and so does the rule of a view.
_CATALOGS = """
, objects (class, oid, namespace, relation, type) AS (
    SELECT 'pg_class'::regclass, oid, relnamespace, 0::oid, NULL FROM pg_class WHERE relkind = 'f'
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, 0, NULL
      FROM pg_proc WHERE prokind <> 'f'
    UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typnamespace, 0,
           CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range type'
                          WHEN 'c' THEN 'composite type' ELSE 'type' END
      FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE coalesce(c.relkind, 'c') = 'c'
       AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
    UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, 0, NULL FROM pg_operator
    UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace, 0, NULL FROM pg_opfamily
    UNION ALL SELECT 'pg_opclass'::regclass, o.oid, o.opcnamespace, 0, NULL
      FROM pg_opclass o JOIN pg_opfamily f ON f.oid = o.opcfamily
     -- Any other is dropped with its family.
     WHERE (f.opfnamespace, f.opfname) <> (o.opcnamespace, o.opcname)
    UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, 0, NULL FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace, 0, NULL FROM pg_conversion
    UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, 0, NULL FROM pg_ts_config
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, 0, NULL FROM pg_ts_dict
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid, prsnamespace, 0, NULL FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid, tmplnamespace, 0, NULL FROM pg_ts_template
    UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid, c.relnamespace, c.oid, NULL
      FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid
    UNION ALL SELECT 'pg_rewrite'::regclass, r.oid, c.relnamespace, c.oid, NULL
      FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
)
"""

_SELECTED = """
SELECT n.nspname AS schema, coalesce(o.type, i.type) AS type, i.identity AS name, c.relname AS of
  FROM objects o JOIN ours n ON n.oid = o.namespace LEFT JOIN pg_class c ON c.oid = o.relation
 CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype IN ('e', 'i'))
"""

OBJECTS = _CATALOGS + _SELECTED

# A schema that no model uses any more, or never did: who runs the revisions owns it, so that
# nobody else is likely to. Its objects have no shadow, and count as a whole.
LEFT_BEHIND = f"""{_CATALOGS}
, others AS (
    SELECT n.oid FROM pg_namespace n JOIN runner r ON r.oid = n.nspowner
     WHERE n.oid NOT IN (SELECT oid FROM ours) AND n.nspname <> 'information_schema'
       AND n.nspname !~ '^(pg_|_?timescaledb_)'
       AND n.nspname <> '{SUPERUSERS_SCHEMA}' AND NOT starts_with(n.nspname::text, :shadow)
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_namespace'::regclass
                          AND e.objid = n.oid AND e.deptype = 'e')
),
relations AS (
    SELECT 'pg_class'::regclass AS class, c.oid, c.relnamespace AS namespace FROM pg_class c
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT c.relispartition
       -- The sequence of a column is dropped with it.
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                          AND d.objid = c.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
                          AND c.relkind = 'S')
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc WHERE prokind = 'f'
    UNION ALL SELECT class, oid, namespace FROM objects WHERE relation = 0
)
SELECT '' AS schema, i.type, i.identity AS name, NULL AS of
  FROM relations o JOIN others n ON n.oid = o.namespace
 CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype IN ('e', 'i'))
"""

# What is in no schema counts where it reaches into ours: casts of our types or the system's,
# publications of our tables, whatever our owner or a superuser made.
OF_DATABASE = f"""
, owners AS (SELECT oid FROM runner UNION SELECT oid FROM pg_roles WHERE rolsuper),
near AS (SELECT oid FROM ours UNION SELECT 'pg_catalog'::regnamespace),
objects (class, oid) AS (
    SELECT 'pg_cast'::regclass, c.oid
      FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource JOIN pg_type t ON t.oid = c.casttarget
     WHERE c.oid >= 16384
       AND s.typnamespace IN (SELECT oid FROM near) AND t.typnamespace IN (SELECT oid FROM near)
    UNION ALL SELECT 'pg_event_trigger'::regclass, t.oid
      FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid
     WHERE p.pronamespace IS DISTINCT FROM to_regnamespace('{SUPERUSERS_SCHEMA}')
    UNION ALL SELECT 'pg_publication'::regclass, p.oid FROM pg_publication p
     WHERE p.puballtables
        OR EXISTS (SELECT FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
                    WHERE r.prpubid = p.oid AND c.relnamespace IN (SELECT oid FROM ours))
        OR EXISTS (SELECT FROM pg_publication_namespace s
                    WHERE s.pnpubid = p.oid AND s.pnnspid IN (SELECT oid FROM ours))
    UNION ALL SELECT 'pg_subscription'::regclass, oid FROM pg_subscription
     WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
     WHERE fdwowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
     WHERE srvowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_user_mapping'::regclass, u.umid FROM pg_user_mappings u
      JOIN pg_foreign_server s ON s.oid = u.srvid WHERE s.srvowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
     WHERE lanispl AND lanowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform WHERE oid >= 16384
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am WHERE oid >= 16384
)
SELECT '' AS schema, i.type, i.identity AS name, NULL AS of
  FROM objects o CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype IN ('e', 'i'))
"""

# Extensions are a kind, but one that is never dropped; the runner itself adds TimescaleDB.
EXTENSIONS = """
SELECT '' AS schema, 'extension' AS type, quote_ident(extname) AS name, NULL AS of
  FROM pg_extension WHERE extname NOT IN ('plpgsql', 'timescaledb')
"""

DEFAULT_PRIVILEGES = """
SELECT '' AS schema, 'default privileges' AS type,
       format('of %I%s on %s', pg_get_userbyid(d.defaclrole), ' in schema ' || n.nspname::text,
              k.noun) AS name,
       'to ' || g.grantee AS detail,
       string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS found,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %s',
              pg_get_userbyid(d.defaclrole), ' IN SCHEMA ' || quote_ident(n.nspname),
              upper(k.noun), g.grantee) AS mend
  FROM pg_default_acl d LEFT JOIN ours n ON n.oid = d.defaclnamespace
  JOIN (VALUES ('r', 'tables'), ('S', 'sequences'), ('f', 'functions'), ('T', 'types'),
               ('n', 'schemas'), ('L', 'large objects')) k (type, noun) ON k.type = d.defaclobjtype
 CROSS JOIN LATERAL aclexplode(d.defaclacl) a
 CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC'
                            ELSE quote_ident(pg_get_userbyid(a.grantee)) END) g (grantee)
 WHERE a.grantee <> d.defaclrole
   AND (n.oid IS NOT NULL OR d.defaclnamespace = 0 AND d.defaclrole IN (SELECT oid FROM runner))
   -- What PostgreSQL itself grants to PUBLIC.
   AND NOT (d.defaclnamespace = 0 AND a.grantee = 0 AND d.defaclobjtype IN ('f', 'T'))
 GROUP BY d.defaclrole, n.nspname, k.noun, g.grantee
"""

# The signature of a function costs the server more than the rest: so of ours alone.
OWNERS = """
SELECT n.nspname AS schema, i.type, i.identity AS name, o.of, 'owner' AS detail,
       r.rolname AS expected, pg_get_userbyid(o.owner) AS found,
       format('ALTER %s %s OWNER TO %I', o.noun, i.identity, r.rolname) AS mend
  FROM (SELECT 'pg_class'::regclass AS class, c.oid, c.relnamespace AS namespace,
               c.relowner AS owner, 'TABLE' AS noun,
               CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE '' END || c.relname AS of
          FROM pg_class c WHERE c.relnamespace IN (SELECT oid FROM ours)
           AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
           -- The owner of a column's sequence is the table's.
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.refobjsubid > 0
                              AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                              AND c.relkind = 'S')
        UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.pronamespace, p.proowner, 'FUNCTION',
               'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
          FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM ours) AND p.prokind = 'f'
        UNION ALL SELECT 'pg_namespace'::regclass, oid, oid, nspowner, 'SCHEMA', NULL
          FROM pg_namespace) o (class, oid, namespace, owner, noun, of)
  JOIN ours n ON n.oid = o.namespace CROSS JOIN runner r
 CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 WHERE o.owner <> r.oid AND NOT starts_with(n.nspname::text, :shadow)
   -- The schema public comes with the database, of an older server as initdb's superuser's (10).
   AND NOT (o.class = 'pg_namespace'::regclass AND n.nspname = 'public'
            AND o.owner IN (SELECT 10 UNION SELECT oid FROM pg_roles
                             WHERE rolname = 'pg_database_owner'
                            UNION SELECT datdba FROM pg_database
                             WHERE datname = current_database()))
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype = 'e')
"""

# The owner's own privileges, which it has unless someone took them away. NULL is all of them.
OWNERS_RIGHTS = """
SELECT n.nspname AS schema, i.type, i.identity AS name, o.of, 'rights of its owner' AS detail,
       'all' AS expected, 'no ' || string_agg(d.privilege_type, ', ' ORDER BY d.privilege_type)
           AS found,
       format('GRANT %s ON %s %s TO %I',
              string_agg(d.privilege_type, ', ' ORDER BY d.privilege_type), o.noun, i.identity,
              pg_get_userbyid(o.owner)) AS mend
  FROM (SELECT 'pg_class'::regclass AS class, c.oid, c.relnamespace AS namespace,
               c.relowner AS owner, c.relacl AS acl,
               CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END AS letter,
               CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS noun,
               CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE '' END || c.relname AS of
          FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.pronamespace, p.proowner, p.proacl, 'f',
               'FUNCTION',
               'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
          FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM ours) AND p.prokind = 'f'
        UNION ALL SELECT 'pg_namespace'::regclass, oid, oid, nspowner, nspacl, 'n', 'SCHEMA', NULL
          FROM pg_namespace) o
  JOIN ours n ON n.oid = o.namespace
 CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 CROSS JOIN LATERAL aclexplode(acldefault(o.letter::"char", o.owner)) d
 WHERE o.acl IS NOT NULL AND d.grantee = o.owner
   AND NOT EXISTS (SELECT FROM aclexplode(o.acl) a
                    WHERE (a.grantee, a.privilege_type) = (o.owner, d.privilege_type))
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype = 'e')
 GROUP BY n.nspname, i.type, i.identity, o.of, o.noun, o.owner
"""

# Properties of our tables, views and indexes that no revision should set: where rows are stored is
# up to an installation, and only a superuser can switch foreign keys on.
PROPERTIES = """
, relations AS (
    SELECT c.oid, c.relkind, c.relname, c.relacl, c.relowner, c.relispartition, c.reloftype,
           n.nspname AS schema, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
           c.reltablespace, c.relam, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'i' THEN 'index'
               WHEN 'm' THEN 'materialized view' ELSE 'table' END AS type
      FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'i')
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                          AND e.objid = c.oid AND e.deptype = 'e')
)
SELECT r.schema, r.type, r.name, coalesce(t.relname, r.relname)::text AS of,
       'tablespace' AS detail, d.spcname::text AS expected, s.spcname::text AS found,
       format('ALTER %s %s SET TABLESPACE %I', upper(r.type), r.name, d.spcname) AS mend
  FROM relations r JOIN pg_tablespace s ON s.oid = r.reltablespace
  JOIN pg_database b ON b.datname = current_database()
  JOIN pg_tablespace d ON d.oid = b.dattablespace
  LEFT JOIN pg_index i ON i.indexrelid = r.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
UNION ALL
SELECT r.schema, r.type, r.name, r.relname, 'access method', 'heap', m.amname,
       format('ALTER %s %s SET ACCESS METHOD heap', upper(r.type), r.name)
  FROM relations r JOIN pg_am m ON m.oid = r.relam
 WHERE r.relkind IN ('r', 'm') AND m.amname <> 'heap'
UNION ALL
SELECT r.schema, r.type, r.name, r.relname, 'parent', NULL, p.oid::regclass::text,
       format('ALTER TABLE %s NO INHERIT %s', r.name, p.oid::regclass)
  FROM relations r JOIN pg_inherits h ON h.inhrelid = r.oid JOIN pg_class p ON p.oid = h.inhparent
 WHERE r.relkind = 'r' AND NOT r.relispartition
UNION ALL
SELECT r.schema, r.type, r.name, r.relname, 'of type', NULL, r.reloftype::regtype::text,
       format('ALTER TABLE %s NOT OF', r.name) FROM relations r WHERE r.reloftype <> 0
UNION ALL
SELECT r.schema, r.type, r.name, r.relname, 'foreign keys', 'checked', 'disabled',
       format('ALTER TABLE %s ENABLE TRIGGER ALL', r.name)
  FROM relations r
 WHERE EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgisinternal
                  AND t.tgconstraint <> 0 AND t.tgenabled <> 'O')
UNION ALL
SELECT r.schema, 'constraint', r.name || '.' || quote_ident(k.conname), r.relname, 'not null',
       'valid', 'not valid', format('ALTER TABLE %s VALIDATE CONSTRAINT %I', r.name, k.conname)
  FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid
 WHERE k.contype = 'n' AND NOT k.convalidated
UNION ALL
-- A partition does not inherit the grants of its table; who has more there reads past it.
SELECT r.schema, 'grant', r.name, NULL, g.role, NULL,
       string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type),
       format('REVOKE %s ON %s FROM %s',
              string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), r.name, g.role)
  FROM relations r CROSS JOIN LATERAL aclexplode(r.relacl) a
 CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC'
                                 ELSE quote_ident(pg_get_userbyid(a.grantee)) END) g (role)
 WHERE r.relispartition AND r.relkind <> 'i' AND a.grantee <> r.relowner
   AND NOT EXISTS (SELECT FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
                    CROSS JOIN LATERAL aclexplode(p.relacl) o
                    WHERE h.inhrelid = r.oid AND (o.grantee, o.privilege_type)
                        = (a.grantee, a.privilege_type))
 GROUP BY r.schema, r.name, g.role
UNION ALL
SELECT r.schema, i.type, i.identity, r.relname, 'security label of ' || l.provider, NULL, l.label,
       format('SECURITY LABEL FOR %I ON %s %s IS NULL', l.provider, upper(i.type), i.identity)
  FROM relations r JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = r.oid
 CROSS JOIN LATERAL pg_identify_object(l.classoid, l.objoid, l.objsubid) i
"""
