"""Nothing is granted to PUBLIC.

Every role of the server is a member of PUBLIC, so such a grant escapes the list of who may do what.
PostgreSQL itself grants PUBLIC to connect, and to execute every new function.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT o.name AS object, a.privilege_type || ' for PUBLIC' AS found,
               a.privilege_type AS privilege, o.spelled
          FROM (SELECT name, 'TABLE ' || name AS spelled,
                       coalesce(relacl, acldefault('r', relowner)) AS acl FROM relations
                 WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
                UNION ALL
                SELECT name, 'SEQUENCE ' || name, coalesce(relacl, acldefault('s', relowner))
                  FROM relations WHERE relkind = 'S'
                UNION ALL
                SELECT c.name || '.' || a.attname, 'TABLE ' || c.name, a.attacl
                  FROM pg_attribute a JOIN relations c ON c.oid = a.attrelid
                UNION ALL
                SELECT name, 'FUNCTION ' || name, coalesce(proacl, acldefault('f', proowner))
                  FROM functions
                UNION ALL
                SELECT 'schema ' || n.nspname, 'SCHEMA ' || n.nspname,
                       coalesce(n.nspacl, acldefault('n', n.nspowner))
                  FROM pg_namespace n JOIN ours USING (oid)
                UNION ALL
                SELECT 'this database', 'DATABASE ' || datname,
                       coalesce(datacl, acldefault('d', datdba))
                  FROM pg_database WHERE datname = current_database()) o,
               aclexplode(o.acl) a
         WHERE a.grantee = 0""",
    expected="grants to the roles of models/shared/roles.py only",
    fix="run REVOKE {privilege} ON {spelled} FROM PUBLIC, and name the roles that need it "
    "with grants= or Grant(…) in the model",
    broken_by=(
        ("GRANT SELECT ON sites TO PUBLIC", "sites", "SELECT"),
        ("GRANT UPDATE (name) ON sites TO PUBLIC", "sites.name", "UPDATE"),
        ("CREATE FUNCTION f() RETURNS int RETURN 1", "f()", "EXECUTE"),
        ("GRANT USAGE ON SCHEMA timeseries TO PUBLIC", "schema timeseries", "USAGE"),
        ("CREATE SEQUENCE s; GRANT USAGE ON s TO PUBLIC", "s", "USAGE"),
        ("GRANT CONNECT ON DATABASE catalog_rules TO PUBLIC", "this database", "CONNECT"),
    ),
    kept_by=("GRANT SELECT (name) ON sites TO fleet_ingest",),
)
