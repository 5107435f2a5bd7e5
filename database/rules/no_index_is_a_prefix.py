"""No index is a prefix of another one.

The longer index serves every query of the shorter, so the shorter one only costs writes and space,
unless it is unique: then it also keeps rows apart.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT format('%s (%s)', a.name, a.table_name) AS object,
               'a prefix of ' || b.name AS found, a.name AS shorter, b.name AS longer
          FROM indexes a
          JOIN indexes b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
               AND b.relam = a.relam AND b.predicate = a.predicate
               AND b.parts[:cardinality(a.parts)] = a.parts
         WHERE NOT a.includes
           AND (NOT a.indisunique OR (b.indisunique AND b.parts = a.parts))""",
    expected="an index that no other one replaces",
    fix="remove the Index for {shorter} from __table_args__: {longer} serves its queries",
    broken_by=(
        ("CREATE INDEX x ON sites (tenant_id)", "x (sites)", "a prefix of "),
        ("CREATE INDEX x ON sites (tenant_id, site_id)", "x (sites)", "a prefix of pk_sites"),
        ("CREATE UNIQUE INDEX x ON sites (tenant_id, site_id)", "pk_sites (sites)", "a prefix"),
        (
            "CREATE INDEX x ON users (lower(email)); CREATE INDEX y ON users (lower(email), id)",
            "x (users)",
            "a prefix of uq_users_email",
        ),
    ),
    kept_by=(
        "CREATE INDEX x ON sites (tenant_id) WHERE name = ''",
        "CREATE UNIQUE INDEX x ON users (id, email); CREATE INDEX y ON users (email, id)",
        "CREATE INDEX x ON sites USING hash (tenant_id)",
        "CREATE INDEX x ON sites (tenant_id DESC)",
    ),
)
