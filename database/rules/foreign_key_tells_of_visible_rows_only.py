"""A foreign key that a role may write refers to rows that the role may see.

PostgreSQL checks foreign keys without row-level security. So a role that writes any value learns
which rows exist that are hidden from it, and can name one that it has nothing to do with.
"""

from database.rules.rule import TENANT_TABLE, Rule

RULE = Rule(
    query="""
        SELECT format('%s (%s)', k.conname, k.table_name) AS object,
               format('%s may write (%s), and does not see all of %s', r.rolname,
                      array_to_string(k.names, ', '), b.name) AS found,
               r.rolname AS role
          FROM foreign_keys k
          JOIN tables a ON a.oid = k.conrelid JOIN tables b ON b.oid = k.confrelid
          JOIN pg_roles r ON r.oid IN (
               SELECT g.grantee FROM aclexplode(a.relacl) g
                WHERE g.privilege_type IN ('INSERT', 'UPDATE')
               UNION
               SELECT g.grantee FROM pg_attribute p CROSS JOIN LATERAL aclexplode(p.attacl) g
                WHERE p.attrelid = a.oid AND p.attnum = ANY (k.conkey)
                  AND g.privilege_type IN ('INSERT', 'UPDATE'))
         WHERE r.oid <> a.relowner
           -- What is in a key with tenant_id, the policy of the table itself has judged.
           AND NOT EXISTS (SELECT FROM generate_subscripts(k.names, 1) s
                            WHERE k.names[s] = 'tenant_id' AND k.target_names[s] = 'tenant_id')
           AND (NOT (SELECT bool_and(has_column_privilege(r.oid, b.oid, n, 'SELECT'))
                       FROM unnest(k.confkey) n)
                OR b.relrowsecurity AND NOT EXISTS (
                     SELECT FROM pg_policy p
                      WHERE p.polrelid = b.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
                        AND p.polroles && ARRAY[r.oid, 0::oid]
                        AND pg_get_expr(p.polqual, p.polrelid) ~ '^(true|.*tenants[(]tenant_id[)])$'
               ))""",
    expected="a key to what the role may see",
    fix='write a tenant_reference(), for a person to "tenant_members", instead of ForeignKey(), or'
    " withhold the column from {role} by __guarded_columns__",
    broken_by=(
        (
            TENANT_TABLE
            + """ALTER TABLE crates ADD packed_by uuid REFERENCES users (id);
                 GRANT SELECT, INSERT ON crates TO fleet_app""",
            "crates_packed_by_fkey (crates)",
            "fleet_app may write (packed_by), and does not see all of users",
        ),
        (
            TENANT_TABLE
            + """ALTER TABLE crates ADD event text REFERENCES stripe_events (event_id);
                 GRANT UPDATE (event) ON crates TO fleet_ingest""",
            "crates_event_fkey (crates)",
            "fleet_ingest may write (event), and does not see all of stripe_events",
        ),
    ),
    kept_by=(
        TENANT_TABLE
        + """ALTER TABLE crates ADD packed_by uuid REFERENCES users (id);
             GRANT INSERT (tenant_id, id) ON crates TO fleet_app;
             GRANT INSERT ON crates TO fleet_operator""",
        TENANT_TABLE
        + """ALTER TABLE crates ADD packed_by uuid, ADD unit integer REFERENCES units_of_measure,
               ADD FOREIGN KEY (tenant_id, packed_by) REFERENCES tenant_members;
             GRANT SELECT, INSERT ON crates TO fleet_app""",
    ),
)
