"""A foreign key between tenant tables carries tenant_id.

PostgreSQL checks foreign keys without row-level security. Without tenant_id in the key, a tenant
could refer to the rows of another, and find out which ids exist there.
"""

from database.rules.rule import TENANT_TABLE, Rule

RULE = Rule(
    query="""
        SELECT format('%s (%s)', k.conname, k.table_name) AS object,
               format('(%s) to (%s)', array_to_string(k.names, ', '),
                      array_to_string(k.target_names, ', ')) AS found,
               '"' || array_to_string(k.names, '", "') || '"' AS columns,
               b.name AS target
          FROM foreign_keys k
          JOIN of_tenants a ON a.oid = k.conrelid JOIN of_tenants b ON b.oid = k.confrelid
         WHERE NOT EXISTS (SELECT FROM generate_subscripts(k.names, 1) s
                            WHERE k.names[s] = 'tenant_id' AND k.target_names[s] = 'tenant_id')""",
    expected="tenant_id on both sides",
    fix='write tenant_reference([{columns}], "{target}") in __table_args__',
    broken_by=(
        (
            """CREATE UNIQUE INDEX x ON sites (site_id);
               ALTER TABLE device_registry
                 ADD CONSTRAINT y FOREIGN KEY (site_id) REFERENCES sites (site_id)""",
            "y (device_registry)",
            "(site_id) to (site_id)",
        ),
    ),
    kept_by=(TENANT_TABLE,),
)
