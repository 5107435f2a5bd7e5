"""A foreign key checked over all rows, although row-level security hides them from the owner.

The server checks as the owner of the tables. Forced row-level security can hide the rows of the
child from it, so that orphans pass, or only those of the parent, so that every row seems an orphan.
"""

from __future__ import annotations

from ddl import sql

_BLOCK = """\
DO $validate$
DECLARE
    owner text := current_user;
    reader text := {reader};
    key pg_constraint;
    child pg_class;
    query text;
    lent text[];
    orphans bigint;
BEGIN
    SELECT * INTO STRICT key FROM pg_constraint
     WHERE conrelid = {table}::regclass AND conname = {name};
    SELECT * INTO STRICT child FROM pg_class WHERE oid = key.conrelid;
    IF row_security_active(key.conrelid) OR row_security_active(key.confrelid) THEN
        SELECT format('SELECT count(*) FROM %s c WHERE %s'
                      ' AND NOT EXISTS (SELECT FROM %s p WHERE %s)',
                      key.conrelid::regclass,
                      string_agg(format('c.%I IS NOT NULL', a.attname), ' AND '),
                      key.confrelid::regclass,
                      string_agg(format('p.%I = c.%I', b.attname, a.attname), ' AND ')),
               array_agg(format('SELECT (%I) ON %s', a.attname, a.attrelid::regclass))
                   FILTER (WHERE NOT has_column_privilege(reader, a.attrelid, a.attnum, 'SELECT'))
               || array_agg(format('SELECT (%I) ON %s', b.attname, b.attrelid::regclass))
                   FILTER (WHERE NOT has_column_privilege(reader, b.attrelid, b.attnum, 'SELECT'))
          INTO query, lent
          FROM unnest(key.conkey, key.confkey) AS u (child, parent)
          JOIN pg_attribute a ON a.attrelid = key.conrelid AND a.attnum = u.child
          JOIN pg_attribute b ON b.attrelid = key.confrelid AND b.attnum = u.parent;
        FOR i IN 1 .. coalesce(cardinality(lent), 0) LOOP
            EXECUTE format('GRANT %s TO %I', lent[i], reader);
        END LOOP;
        EXECUTE format('SET LOCAL ROLE %I', reader);
        EXECUTE query INTO orphans;
        EXECUTE format('SET LOCAL ROLE %I', owner);
        FOR i IN 1 .. coalesce(cardinality(lent), 0) LOOP
            EXECUTE format('REVOKE %s FROM %I', lent[i], reader);
        END LOOP;
        IF orphans > 0 THEN
            RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
                MESSAGE = format('foreign key %s.%s: expected no orphans, found %s rows without'
                                 ' a parent', child.relname, key.conname, orphans),
                HINT = 'Delete or fix those rows as an operator, then run the upgrade again.';
        END IF;
        IF NOT row_security_active(key.conrelid) THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
                           key.conrelid::regclass);
        END IF;
    END IF;
    EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', key.conrelid::regclass, key.conname);
    IF NOT child.relforcerowsecurity AND row_security_active(key.conrelid) THEN
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', key.conrelid::regclass);
        IF NOT child.relrowsecurity THEN
            EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', key.conrelid::regclass);
        END IF;
    END IF;
END
$validate$"""


def validation(schema: str, table: str, name: str, role: str) -> str:
    """A DO block that validates a constraint added NOT VALID, after counting as ``role``.

    Within the block the role is granted the columns that it may not read. Where only the rows of
    the parent are hidden, those of the child are hidden, too, while the server validates: they
    have been counted. Where the owner sees all rows, the server just validates.

    Raises (from the server):
        foreign_key_violation: there are orphans, and how many; the hint says what to do.
    """
    return _BLOCK.format(
        reader=sql.literal(role),
        table=sql.literal(sql.qualified(schema, table)),
        name=sql.literal(name),
    )
