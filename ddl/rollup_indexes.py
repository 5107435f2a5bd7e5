"""Indexes of rollups: how they are written, those by default, and the SQL that makes them.

TimescaleDB keeps the rows of a rollup in a hypertable of its own, and by itself gives that an index
of each column by which the rollup groups, with the bucket. Each costs every refresh, and by most of
them a tenant's query reads rows of other tenants first, which ``EXPLAIN`` then counts. So a rollup
has the indexes that are declared and no others. They have no name of their own: what they are over
tells them apart, and the server calls them after the hypertable, of which it chooses the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Key
from ddl.columnstore_layout import ORDERED, column_list
from ddl.select import parsed

_DEFAULT_ORDER = re.compile(r"(?<= DESC) NULLS FIRST$|(?<! DESC) NULLS LAST$")


def index_lists(indexes: Iterable[str], title: str) -> tuple[str, ...]:
    """Lists of columns in the server's spelling, sorted: the order of indexes means nothing.

    Raises:
        sqlalchemy.exc.ArgumentError: one is no list of columns, or there twice.
    """
    found: list[str] = []
    for text in indexes:
        columns = [_DEFAULT_ORDER.sub("", one) for one in sql.split_list(column_list(text))]
        matches = [ORDERED.fullmatch(one) for one in columns]
        if not columns or None in matches:
            raise ArgumentError(
                f"{title}: indexes expected lists of columns, found {text!r}; write "
                'indexes=["device_id, bucket DESC"]'
            )
        found.append(",".join(columns))
    if repeated := {one for one in found if found.count(one) > 1}:
        raise ArgumentError(
            f"{title}: indexes expected each once, found {min(repeated)!r} twice; remove one"
        )
    return tuple(sorted(found))


def names(columns: str) -> list[str]:
    """The columns of one index."""
    matches = map(ORDERED.match, sql.split_list(columns))
    return [sql.unquoted(match["name"]) for match in matches if match is not None]


def by_all_keys(definition: str) -> tuple[str, ...]:
    """The default: one index of all that the rollup groups by, the newest bucket first."""
    bucket, keys = _keys(definition)
    return (",".join([*keys, f"{bucket} DESC"]),) if bucket else ()


def by_timescaledb(definition: str) -> tuple[str, ...]:
    """Those that TimescaleDB chooses, which a revision without ``indexes`` has always meant."""
    bucket, keys = _keys(definition)
    found = [f"{bucket} DESC", *(f"{key},{bucket} DESC" for key in keys)] if bucket else []
    return tuple(sorted(found))


def _keys(definition: str) -> tuple[str, list[str]]:
    """The bucket, empty where there is none, and the other columns that the query groups by."""
    keys = parsed(definition).keys
    bucket = next((name for name, text in keys.items() if "time_bucket" in sql.calls(text)), "")
    return bucket and sql.ident(bucket), [sql.ident(name) for name in keys if name != bucket]


# --- in a pending operation -------------------------------------------------------------------


def recorded(indexes: Sequence[str]) -> str:
    """``(a,b DESC),(b)``: one text, in which a renamed column is found as in a columnstore's."""
    return ",".join(f"({one})" for one in indexes)


def from_record(text: str) -> tuple[str, ...]:
    """The same, read back; sorted anew, since columns may have been renamed."""
    return tuple(sorted(one[1:-1] for one in sql.split_list(text))) if text else ()


# --- the SQL ----------------------------------------------------------------------------------


def _columns(quoted: str) -> str:
    return f"""(SELECT string_agg({quoted} || CASE i.indoption[k.number - 1]
                           WHEN 1 THEN ' DESC NULLS LAST' WHEN 2 THEN ' NULLS FIRST'
                           WHEN 3 THEN ' DESC' ELSE '' END, ', ' ORDER BY k.number)
       FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, number)
       JOIN pg_attribute a ON (a.attrelid, a.attnum) = (i.indrelid, k.attnum))"""


COLUMNS = _columns("quote_ident(a.attname)")
"""SQL: what the index "i" of pg_index is over, in the words of CREATE INDEX."""

DECLARABLE = f"""(NOT i.indisunique AND coalesce(right(
        pg_get_indexdef(i.indexrelid), length({COLUMNS}) + 15) = ' USING btree (' || {COLUMNS}
        || ')', false))"""
"""SQL: whether a declaration can say it: a plain B-tree of columns with the usual operators."""

# All names in quotes, since the server and revisions would not put the same ones in quotes.
_QUOTED = _columns("""'"' || replace(a.attname, '"', '""') || '"'""")

# On the rollup, since in the schema of its hypertable only TimescaleDB may build (its issue 4735);
# and before others are dropped: a DROP INDEX keeps readers waiting until the transaction ends.
# An invalid one was left by an interrupted CREATE INDEX.
_EXACTLY = """
DECLARE
    rollup CONSTANT regclass := {rollup};
    wanted CONSTANT text[] := {wanted};
    stored regclass;
    columns text;
    superfluous regclass;
BEGIN
    SELECT format('%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name)
      INTO STRICT stored FROM timescaledb_information.continuous_aggregates a
     WHERE format('%I.%I', a.view_schema, a.view_name)::regclass = rollup;
    FOR columns IN
        SELECT w FROM unnest(wanted) AS w
         WHERE w NOT IN (SELECT {columns} FROM pg_index i
                          WHERE i.indrelid = stored AND i.indisvalid AND {declarable})
    LOOP
        EXECUTE format('CREATE INDEX ON %s (%s)', rollup, columns);
    END LOOP;
    FOR superfluous IN
        SELECT i.indexrelid FROM pg_index i
         WHERE i.indrelid = stored AND {declarable}
           AND (NOT i.indisvalid OR {columns} <> ALL (wanted))
    LOOP
        EXECUTE format('DROP INDEX %s', superfluous);
    END LOOP;
END
"""


def exactly(rollup: Key, indexes: Sequence[str]) -> str:
    """The statement after which a rollup has these indexes, of those that can be declared."""
    body = _EXACTLY.format(
        wanted=f"ARRAY[{', '.join(sql.literal(_all_quoted(one)) for one in indexes)}]::text[]",
        rollup=sql.literal(".".join(map(sql.ident, rollup))),
        columns=_QUOTED,
        declarable=DECLARABLE,
    )
    return f"DO {sql.dollar_quoted(body)}"


def _all_quoted(columns: str) -> str:
    matches = map(ORDERED.fullmatch, sql.split_list(columns))
    return ", ".join(
        sql.quoted(sql.unquoted(match["name"])) + match["order"]
        for match in matches
        if match is not None
    )
