"""The rules that every object of the database keeps, each as a query for what breaks it.

They read the catalog of a migrated database, so they hold for whatever made it: a model, a revision
edited by hand, an operator. The same rules for models, which fail earlier, are in test_conventions,
test_columns and test_access.
"""

from __future__ import annotations

from sqlalchemy import Connection

# Ours: not the tools' tables, and nothing that belongs to an extension.
_COMMON = """
WITH ours AS (
    SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.nspname IN ('public', 'timeseries')
), relations AS (
    SELECT c.*, c.oid::regclass::text AS name
      FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
     WHERE c.relname NOT IN ('alembic_version', 'schema_history', 'timeseries_ledger')
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                          AND e.objid = c.oid AND e.deptype = 'e')
), tables AS (
    SELECT * FROM relations WHERE relkind IN ('r', 'p')
), columns AS (
    SELECT t.oid AS table_oid, t.name || '.' || a.attname AS name, a.attname, a.attnum,
           coalesce(nullif(y.typelem, 0), y.oid) AS type, a.atttypmod, a.attnotnull,
           format_type(a.atttypid, a.atttypmod) AS spelled,
           pg_get_expr(d.adbin, d.adrelid) AS value
      FROM pg_attribute a JOIN tables t ON t.oid = a.attrelid
      JOIN pg_type y ON y.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attnum > 0 AND NOT a.attisdropped
), of_tenants AS (
    SELECT t.* FROM tables t JOIN columns c ON c.table_oid = t.oid AND c.attname = 'tenant_id'
     WHERE t.name <> 'tenants'
), functions AS (
    SELECT p.*, p.oid::regprocedure::text AS name, l.lanname
      FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
     WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                          AND e.objid = p.oid AND e.deptype = 'e')
), indexes AS (
    SELECT i.indrelid, i.indexrelid, i.indisunique, x.relam, i.indexrelid::regclass::text AS name,
           i.indnatts > i.indnkeyatts AS includes,
           coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false) || ' ' || i.indoption[k - 1]
                        || ' ' || i.indclass[k - 1] || ' ' || i.indcollation[k - 1]
                   FROM generate_series(1, i.indnkeyatts) k ORDER BY k) AS parts,
           ARRAY(SELECT i.indkey[k]::int FROM generate_series(0, i.indnkeyatts - 1) k
                  ORDER BY k) AS attributes
      FROM pg_index i JOIN tables t ON t.oid = i.indrelid
      JOIN pg_class x ON x.oid = i.indexrelid
     WHERE i.indisvalid
), foreign_keys AS (
    SELECT k.*, t.name AS table_name,
           ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (n, place)
                   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n
                  ORDER BY place) AS names,
           ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (n, place)
                   JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n
                  ORDER BY place) AS target_names
      FROM pg_constraint k JOIN tables t ON t.oid = k.conrelid WHERE k.contype = 'f'
)
"""

RULES = {
    # Else deleting one parent reads the whole child table. Rows with a NULL refer to nothing.
    "a foreign key has an index that leads with its columns": """
        SELECT format('%s (%s): no index leads with %s', k.conname, k.table_name, k.names)
          FROM foreign_keys k
         WHERE NOT EXISTS (
               SELECT FROM indexes i JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
                WHERE i.indrelid = k.conrelid
                  AND k.conkey::int[] @> i.attributes[:cardinality(k.conkey)]
                  AND i.attributes[:cardinality(k.conkey)] @> k.conkey::int[]
                  AND (i.predicate = '' OR i.predicate IN (
                       SELECT format('(%I IS NOT NULL)', n) FROM unnest(k.names) n)))""",
    # The longer one serves every query of the shorter, unless the shorter keeps rows apart.
    "no index is a prefix of another": """
        SELECT format('%s (%s) is a prefix of %s', a.name, a.indrelid::regclass, b.name)
          FROM indexes a
          JOIN indexes b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
               AND b.relam = a.relam AND b.predicate = a.predicate
               AND b.parts[:cardinality(a.parts)] = a.parts
         WHERE NOT a.includes
           AND (NOT a.indisunique OR (b.indisunique AND b.parts = a.parts))""",
    "row security of a tenant table is on and forced": """
        SELECT format('%s: enabled %s, forced %s', name, relrowsecurity, relforcerowsecurity)
          FROM of_tenants
         WHERE relnamespace = 'public'::regnamespace
           AND NOT (relrowsecurity AND relforcerowsecurity)""",
    # PostgreSQL checks foreign keys without row security.
    "a foreign key between tenant tables carries tenant_id": """
        SELECT format('%s (%s): %s to %s', k.conname, k.table_name, k.names, k.target_names)
          FROM foreign_keys k
          JOIN of_tenants a ON a.oid = k.conrelid JOIN of_tenants b ON b.oid = k.confrelid
         WHERE NOT EXISTS (SELECT FROM generate_subscripts(k.names, 1) s
                            WHERE k.names[s] = 'tenant_id' AND k.target_names[s] = 'tenant_id')""",
    # A body that is text finds its tables anew at each call, where the caller says.
    "a function with a text body fixes its search_path": """
        SELECT name FROM functions
         WHERE prosqlbody IS NULL AND lanname NOT IN ('c', 'internal')
           AND NOT EXISTS (SELECT FROM unnest(proconfig) s WHERE s LIKE 'search\\_path=%')""",
    "nothing is granted to PUBLIC": """
        SELECT format('%s on %s', a.privilege_type, o.name)
          FROM (SELECT name, coalesce(relacl, acldefault('r', relowner)) AS acl FROM relations
                 WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
                UNION ALL
                SELECT name, coalesce(relacl, acldefault('s', relowner)) FROM relations
                 WHERE relkind = 'S'
                UNION ALL
                SELECT c.name || '.' || a.attname, a.attacl
                  FROM pg_attribute a JOIN relations c ON c.oid = a.attrelid
                UNION ALL
                SELECT name, coalesce(proacl, acldefault('f', proowner)) FROM functions
                UNION ALL
                SELECT 'schema ' || n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner))
                  FROM pg_namespace n JOIN ours USING (oid)
                UNION ALL
                SELECT 'this database', coalesce(datacl, acldefault('d', datdba))
                  FROM pg_database WHERE datname = current_database()) o,
               aclexplode(o.acl) a
         WHERE a.grantee = 0""",
    "every table, view and function has a comment": """
        SELECT name FROM relations
         WHERE relkind IN ('r', 'p', 'v', 'm') AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT name FROM functions WHERE obj_description(oid, 'pg_proc') IS NULL""",
    "tenant_id is the first column of a tenant table, and leads its key": """
        SELECT format('%s: column %s, key %s', t.name, c.attnum, coalesce(k.conkey::text, 'none'))
          FROM of_tenants t
          JOIN columns c ON c.table_oid = t.oid AND c.attname = 'tenant_id'
          LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
         WHERE NOT c.attnotnull OR k.conkey[1] IS DISTINCT FROM c.attnum
            OR c.attnum > (SELECT min(o.attnum) FROM columns o WHERE o.table_oid = t.oid)""",
    # Else a tenant writes rows that it does not see: those of another tenant.
    "a view that takes rows has a check option": """
        SELECT DISTINCT format('%s: %s may %s', v.name, a.grantee::regrole, a.privilege_type)
          FROM relations v, aclexplode(v.relacl) a
         WHERE v.relkind = 'v' AND a.grantee NOT IN (0, v.relowner)
           AND a.privilege_type IN ('INSERT', 'UPDATE')
           AND NOT EXISTS (SELECT FROM unnest(v.reloptions) o WHERE o LIKE 'check\\_option=%')
        UNION
        SELECT format('%s.%s: %s may %s', v.name, c.attname, a.grantee::regrole, a.privilege_type)
          FROM relations v JOIN pg_attribute c ON c.attrelid = v.oid, aclexplode(c.attacl) a
         WHERE v.relkind = 'v' AND a.privilege_type IN ('INSERT', 'UPDATE')
           AND NOT EXISTS (SELECT FROM unnest(v.reloptions) o WHERE o LIKE 'check\\_option=%')""",
    # Their operators are not leakproof, so row security would keep them from indexes.
    "there is no native enum": """
        SELECT y.oid::regtype::text FROM pg_type y JOIN ours ON ours.oid = y.typnamespace
         WHERE y.typtype = 'e'""",
    "moments have a time zone": """
        SELECT name || ': ' || spelled FROM columns
         WHERE type IN ('timestamp'::regtype, 'timetz'::regtype)""",
    "text has no length": """
        SELECT name || ': ' || spelled FROM columns
         WHERE type IN ('varchar'::regtype, 'bpchar'::regtype)""",
    "JSON is jsonb": """
        SELECT name || ': ' || spelled FROM columns WHERE type = 'json'::regtype""",
    # Its sequence needs a grant of its own, and goes when the column's default does.
    "numbers come from identity columns, not from serial": """
        SELECT name || ': ' || value FROM columns WHERE value LIKE 'nextval(%'""",
    "money is counted in integer cents": """
        SELECT name || ': ' || spelled FROM columns
         WHERE (attname ~ '(^|_)(cent|price|amount|cost|fee|balance|revenue|charge)s?(_|$)'
                AND type IN ('float4'::regtype, 'float8'::regtype))
            OR type = 'money'::regtype
            OR (attname LIKE '%\\_cents' AND type NOT IN ('int4'::regtype, 'int8'::regtype))""",
}


def broken(connection: Connection, rule: str) -> list[str]:
    """What breaks ``rule`` in this database, sorted."""
    query = _COMMON + RULES[rule]
    found = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return sorted(str(row[0]) for row in found)
