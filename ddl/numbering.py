"""A sequence that a filled column gains goes on behind the numbers that are in it."""

from __future__ import annotations

from ddl import sql

# Forced row-level security would hide the numbers from the owner.
_BLOCK = """\
DO $number$
DECLARE
    numbers pg_sequence;
    forced bool := (SELECT relforcerowsecurity FROM pg_class WHERE oid = {name}::regclass);
    last bigint;
BEGIN
    SELECT * INTO STRICT numbers FROM pg_sequence
     WHERE seqrelid = pg_get_serial_sequence({name}, {text})::regclass;
    IF forced THEN
        ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;
    END IF;
    SELECT CASE WHEN numbers.seqincrement > 0 THEN max({column}) ELSE min({column}) END INTO last
      FROM {table};
    IF forced THEN
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
    END IF;
    IF sign(numbers.seqincrement) * (last - numbers.seqstart) >= 0 THEN
        PERFORM setval(numbers.seqrelid, last);
    END IF;
END
$number$"""


def continued(schema: str, table: str, column: str) -> str:
    """A DO block after which the column's own sequence gives no number that a row has already."""
    name = sql.qualified(schema, table)
    return _BLOCK.format(
        name=sql.literal(name),
        text=sql.literal(column),
        table=name,
        column=sql.ident(column),
    )
