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
    definition text;
    conditions text;
    counting text;
    lent text[];
    stored bool;  -- by column; NULL for a plain table
    lifted bool := false;
    orphans bigint := 0;
BEGIN
    SELECT * INTO STRICT key FROM pg_constraint
     WHERE conrelid = {table}::regclass AND conname = {name};
    SELECT * INTO STRICT child FROM pg_class WHERE oid = key.conrelid;
    IF to_regclass('timescaledb_information.hypertables') IS NOT NULL THEN
        EXECUTE 'SELECT compression_enabled FROM timescaledb_information.hypertables'
                ' WHERE format(''%I.%I'', hypertable_schema, hypertable_name)::regclass = $1'
           INTO stored USING key.conrelid;
    END IF;
    IF stored IS NOT NULL AND row_security_active(key.confrelid) THEN
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', key.confrelid::regclass);
        lifted := true;
    END IF;
    SELECT format('FROM %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)',
                  key.conrelid::regclass,
                  string_agg(format('c.%I IS NOT NULL', a.attname), ' AND '),
                  key.confrelid::regclass,
                  string_agg(format('p.%I = c.%I', b.attname, a.attname), ' AND ')),
           array_agg(format('SELECT (%I) ON %s', a.attname, a.attrelid::regclass))
               FILTER (WHERE NOT has_column_privilege(reader, a.attrelid, a.attnum, 'SELECT'))
           || array_agg(format('SELECT (%I) ON %s', b.attname, b.attrelid::regclass))
               FILTER (WHERE NOT has_column_privilege(reader, b.attrelid, b.attnum, 'SELECT'))
      INTO conditions, lent
      FROM unnest(key.conkey, key.confkey) AS u (child, parent)
      JOIN pg_attribute a ON a.attrelid = key.conrelid AND a.attnum = u.child
      JOIN pg_attribute b ON b.attrelid = key.confrelid AND b.attnum = u.parent;
    counting := 'SELECT count(*) ' || conditions;
    IF row_security_active(key.conrelid) OR row_security_active(key.confrelid) THEN
        FOR i IN 1 .. coalesce(cardinality(lent), 0) LOOP
            EXECUTE format('GRANT %s TO %I', lent[i], reader);
        END LOOP;
        EXECUTE format('SET LOCAL ROLE %I', reader);
        EXECUTE counting INTO orphans;
        EXECUTE format('SET LOCAL ROLE %I', owner);
        FOR i IN 1 .. coalesce(cardinality(lent), 0) LOOP
            EXECUTE format('REVOKE %s FROM %I', lent[i], reader);
        END LOOP;
    ELSIF NOT lifted THEN
        reader := owner;
    END IF;
    IF orphans = 0 THEN
        BEGIN
            IF stored THEN
                -- TimescaleDB checks a key over a columnstore only while it is added.
                definition := regexp_replace(pg_get_constraintdef(key.oid), ' NOT VALID$', '');
                EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I',
                               key.conrelid::regclass, key.conname);
                EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                               key.conrelid::regclass, key.conname, definition);
            ELSE
                IF row_security_active(key.confrelid) AND NOT row_security_active(key.conrelid) THEN
                    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY,'
                                   ' FORCE ROW LEVEL SECURITY', key.conrelid::regclass);
                END IF;
                EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I',
                               key.conrelid::regclass, key.conname);
            END IF;
        EXCEPTION WHEN foreign_key_violation THEN
            EXECUTE counting INTO orphans;
        END;
    END IF;
    IF orphans > 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = format('foreign key %s.%s: expected no orphans, found %s row(s) without a'
                             ' parent', child.relname, key.conname, orphans),
            HINT = format('Give them a parent or delete them, then run the upgrade again. They are,'
                          ' for %I: SELECT c.* %s', reader, conditions);
    END IF;
    IF lifted THEN
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', key.confrelid::regclass);
    END IF;
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
    have been counted. Where the owner sees all rows, the server just validates, and counts if that
    fails. Row-level security of a hypertable hides no rows of its chunks: there the parent hides no
    row from its owner meanwhile. With a columnstore TimescaleDB validates nothing, so that the key
    is added anew.

    Raises (from the server):
        foreign_key_violation: there are orphans, and how many; the hint selects them.
    """
    return _BLOCK.format(
        reader=sql.literal(role),
        table=sql.literal(sql.qualified(schema, table)),
        name=sql.literal(name),
    )
