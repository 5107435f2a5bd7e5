"""tenant_id is the first column of a tenant table and of its primary key, and never NULL.

Every query of a tenant filters by tenant_id, so the key can serve all of them. TimescaleDB needs
the columns of a policy before any column that is dropped one day: it looks columns up by their
position.
"""

from database.rules.rule import TENANT_TABLE, Rule

RULE = Rule(
    query="""
        SELECT t.name AS object,
               format('%s, %s, primary key %s',
                 CASE WHEN c.attnum = f.first THEN 'first column'
                      ELSE 'column ' || c.attnum END,
                 CASE WHEN c.attnotnull THEN 'NOT NULL' ELSE 'nullable' END,
                 coalesce(k.conkey::text, 'none')) AS found
          FROM of_tenants t
          JOIN columns c ON c.table_oid = t.oid AND c.attname = 'tenant_id'
          JOIN (SELECT table_oid, min(attnum) AS first FROM columns GROUP BY 1) f
               ON f.table_oid = t.oid
          LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
         WHERE NOT c.attnotnull OR k.conkey[1] IS DISTINCT FROM c.attnum OR c.attnum > f.first""",
    expected="tenant_id as first column, NOT NULL, and first in the primary key",
    fix="let the model inherit from TenantScoped (TenantTimeSeries for a hypertable)",
    broken_by=(
        (
            "CREATE TABLE crates (id uuid, tenant_id uuid, PRIMARY KEY (tenant_id, id))",
            "crates",
            "column 2, NOT NULL, primary key {2,1}",
        ),
        (
            "CREATE TABLE crates (tenant_id uuid NOT NULL, id uuid PRIMARY KEY)",
            "crates",
            "first column, NOT NULL, primary key {2}",
        ),
        (
            "CREATE TABLE timeseries.crates (tenant_id uuid)",
            "timeseries.crates",
            "first column, nullable, primary key none",
        ),
    ),
    kept_by=(TENANT_TABLE,),
)
