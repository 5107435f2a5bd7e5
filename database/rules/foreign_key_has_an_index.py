"""A foreign key has an index that leads with its columns.

Without one, deleting or renaming a single parent row reads the whole child table. The index may be
partial if it leaves out only the rows with NULL, which refer to nothing. One over the rows of all
tenants is hidden (`models.shared.across`), so only the queries of roles that see them use it, and
the server does not when it deletes the parent: that is a row of a catalogue, or a person.
"""

from database.rules.rule import TENANT_TABLE, Rule

_KEY_TO_SITES = (
    TENANT_TABLE
    + """
    ALTER TABLE crates ADD FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, site_id);
"""
)
_NAMED = "crates_tenant_id_site_id_fkey (crates)"

RULE = Rule(
    query=r"""
        SELECT format('%s (%s)', k.conname, k.table_name) AS object,
               'no index on ' || array_to_string(k.names, ', ') AS found,
               '"' || array_to_string(k.names, '", "') || '"' AS columns
          FROM foreign_keys k
         WHERE NOT EXISTS (
               SELECT FROM indexes i JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
                WHERE i.indrelid = k.conrelid
                  AND k.conkey::int[] @> i.attributes[:cardinality(k.conkey)]
                  AND i.attributes[:cardinality(k.conkey)] @> k.conkey::int[]
                  AND (i.predicate = '' OR i.predicate ~ '^[^.]+[.]tenants\(tenant_id\)$'
                    OR i.predicate IN (
                       SELECT format('(%I IS NOT NULL)', n) FROM unnest(k.names) n)))""",
    expected="a btree index that leads with the columns of the foreign key",
    fix="write Index(None, {columns}) in __table_args__",
    broken_by=(
        (_KEY_TO_SITES, _NAMED, "no index on tenant_id, site_id"),
        (
            _KEY_TO_SITES + "CREATE INDEX x ON crates (tenant_id, site_id) WHERE id = id",
            _NAMED,
            "no index",
        ),
        (
            _KEY_TO_SITES + "CREATE INDEX x ON crates (site_id, id, tenant_id)",
            _NAMED,
            "no index",
        ),
        (
            "DROP INDEX ix_device_registry_site_id",
            "fk_device_registry_site_id (device_registry)",
            "no index",
        ),
    ),
    kept_by=(
        _KEY_TO_SITES + "CREATE INDEX x ON crates (tenant_id, site_id) WHERE site_id IS NOT NULL",
        _KEY_TO_SITES + "CREATE INDEX x ON crates (site_id, tenant_id, id)",
    ),
)
