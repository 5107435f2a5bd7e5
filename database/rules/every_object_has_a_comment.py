"""Every table, view and function has a comment.

The comment is what a person finds in psql, and the first sentence of its page in docs/schema.
"""

from database.rules.rule import TENANT_TABLE, Rule

RULE = Rule(
    query="""
        SELECT name AS object, 'none' AS found FROM relations
         WHERE relkind IN ('r', 'p', 'v', 'm') AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT name, 'none' FROM functions WHERE obj_description(oid, 'pg_proc') IS NULL""",
    expected="a comment",
    fix='write comment="…" in its declaration: for a table, in the dictionary that ends '
    "__table_args__",
    broken_by=(
        ("COMMENT ON TABLE sites IS NULL", "sites", "none"),
        ("COMMENT ON VIEW telemetry IS NULL", "telemetry", "none"),
        ("COMMENT ON FUNCTION uuid7() IS NULL", "uuid7()", "none"),
    ),
    kept_by=(TENANT_TABLE,),
)
