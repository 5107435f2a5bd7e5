"""Row-level security of a tenant table is enabled and forced.

A policy does nothing until it is enabled, and the owner of a table, with whose rights functions may
run, obeys it only if it is forced.
"""

from database.rules.rule import TENANT_TABLE, Rule

RULE = Rule(
    query="""
        SELECT name AS object,
               format('enabled %s, forced %s', relrowsecurity, relforcerowsecurity) AS found
          FROM of_tenants
         WHERE pg_table_is_visible(oid)
           AND NOT (relrowsecurity AND relforcerowsecurity)""",
    expected="enabled t, forced t",
    fix="let the model inherit from TenantScoped, and generate a revision",
    broken_by=(
        ("ALTER TABLE sites NO FORCE ROW LEVEL SECURITY", "sites", "enabled t, forced f"),
        ("ALTER TABLE sites DISABLE ROW LEVEL SECURITY", "sites", "enabled f, forced t"),
    ),
    kept_by=(TENANT_TABLE,),
)
