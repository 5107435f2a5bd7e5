"""The history of a rollup that is made anew: which columns stay, and the SQL that carries them.

A rollup may be older than its raw data, so that no refresh brings back what its drop takes. Within
the transaction of the revision its rows are set aside in a temporary table before it is dropped,
and put into the new one right after that is created. Both are statements of the transaction, so
whoever reads it later sees all of it or nothing, a runner that is killed leaves the old rollup,
and neither the runner nor a script for psql has anything to do after the commit.

Not by ``refresh_continuous_aggregate``: it needs a transaction of its own, it would delete what
the raw data no longer has, and until it is done the new rollup would be wrong.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Key
from ddl.edition import COMMUNITY, detect
from ddl.select import Select, parsed


@dataclass(frozen=True)
class History:
    """What two queries of one rollup have in common, in either direction.

    Where no row of the one is a row of the other, nothing is ``kept``, and what is left of the raw
    data fills the new rollup.
    """

    keys: tuple[str, ...] = ()
    """The columns by which both group."""
    copied: tuple[str, ...] = ()
    """The columns that mean the same in both."""
    lost: tuple[str, ...] = ()
    """The columns of the former query that do not go on."""
    added: tuple[str, ...] = ()
    """The columns of the later query that did not exist before."""
    kept: bool = True
    narrowed: bool = False
    """Not kept only because WHERE or HAVING differ: the rows could be kept, if a person says so."""

    def reversed(self) -> History:
        """The same from the later query to the former."""
        return dataclasses.replace(self, lost=self.added, added=self.lost)


def common(before: str, after: str, altered: Collection[str] = ()) -> History:
    """What the history of a rollup keeps.

    A column is the same where its expression is: ``avg(v) AS v`` is not ``max(v) AS v``.

    Args:
        before: the former query in the server's spelling; likewise ``after``.
        altered: the columns of the source that do not mean the same any more.
    """
    old, new = parsed(before), parsed(after)
    keyed = old.is_keyed and new.is_keyed
    same = _same(old, new, altered)
    copied = tuple(name for name in new.columns if name in same and name not in new.keys)
    if not keyed or old.keys != new.keys or old.source != new.source or not copied:
        return History(kept=False)
    here = {*new.keys, *copied}
    narrowed = old.condition != new.condition
    return History(
        tuple(new.keys),
        copied,
        tuple(name for name in old.columns if name not in here),
        tuple(name for name in new.columns if name not in here),
        kept=not narrowed,
        narrowed=narrowed,
    )


def altered(before: str, after: str, of_source: Collection[str] = ()) -> set[str]:
    """The columns of both queries that mean something else in the later one.

    Not its bucket: what reads the rollup has a longer one of its own.
    """
    old, new = parsed(before), parsed(after)
    buckets = {name for name, text in new.keys.items() if sql.calls(text) & _BUCKETS}
    return (old.columns.keys() & new.columns.keys()) - _same(old, new, of_source) - buckets


def _same(old: Select, new: Select, altered: Collection[str]) -> set[str]:
    return {
        name
        for name, text in new.columns.items()
        if old.columns.get(name) == text and sql.words(text).isdisjoint(altered)
    }


_BUCKETS = {"time_bucket", "date_bin", "date_trunc"}

# --- the SQL ------------------------------------------------------------------------------------


def set_aside(rollup: Key) -> str:
    """The statement that keeps the rows of a rollup until the end of the transaction."""
    body = _ASIDE.format(found=_found(rollup), aside=_aside(rollup))
    return f"DO {sql.dollar_quoted(body)}"


def filled(rollup: Key, definition: str) -> str:
    """The statement that fills a new rollup from the raw data, all but its last bucket."""
    body = _FILLED.format(
        found=_found(rollup),
        view=_view(rollup),
        shown=_SHOWN.format(view=_view(rollup)),
        definition=sql.literal(definition),
    )
    return f"DO {sql.dollar_quoted(body)}"


def restored(rollup: Key, definition: str, history: History) -> str:
    """The statement that puts them into the new rollup and computes what is new in it."""
    schema, name = rollup
    body = _RESTORED.format(
        found=_found(rollup),
        aside=_aside(rollup),
        keys=_array(history.keys),
        copied=_array(history.copied),
        view=_view(rollup),
        shown=_SHOWN.format(view=_view(rollup)),
        title=sql.literal(f"rollup {schema}.{name}"),
        hint=sql.literal(
            f"expected op.drop_rollup({name!r}, set_aside=True, …) earlier in the same transaction"
        ),
        definition=sql.literal(definition),
    )
    return f"DO {sql.dollar_quoted(body)}"


def _aside(rollup: Key) -> str:
    """The name of the temporary table: short for any rollup, and no other rollup's."""
    return f"history_{hashlib.sha256(repr(rollup).encode()).hexdigest()[:16]}"


def _view(rollup: Key) -> str:
    return sql.literal(".".join(map(sql.ident, rollup)))


def _array(names: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(map(sql.literal, names))}]::text[]"


def _found(rollup: Key) -> str:
    return _FOUND.format(schema=sql.literal(rollup[0]), name=sql.literal(rollup[1]))


_FOUND = """
    SELECT format('%I.%I', a.materialization_hypertable_schema, a.materialization_hypertable_name)
               AS stored, quote_ident(d.column_name) AS bucket,
           a.hypertable_schema AS source_schema, a.hypertable_name AS source_name
      INTO STRICT rollup
      FROM timescaledb_information.continuous_aggregates a
      JOIN timescaledb_information.dimensions d ON d.dimension_number = 1
       AND (d.hypertable_schema, d.hypertable_name)
         = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
     WHERE (a.view_schema, a.view_name) = ({schema}, {name});"""

# drop_chunks() drops nothing here. Afterwards TimescaleDB moves the watermark, below which a rollup
# shows its stored rows, to the end of the last of them, as it does after a refresh.
_SHOWN = """
    PERFORM drop_chunks({view}, created_before => '2000-01-01'::timestamptz);"""

# The lock keeps a refresh from changing rows that are copied already.
_ASIDE = """
DECLARE
    rollup record;
BEGIN{found}
    EXECUTE format('LOCK TABLE %s IN SHARE MODE', rollup.stored);
    EXECUTE format(
        'CREATE TEMPORARY TABLE {aside} ON COMMIT DROP AS SELECT * FROM %s', rollup.stored);
END
"""

# Rows of the last bucket may still be to come.
_FILLED = """
DECLARE
    rollup record;
BEGIN{found}
    EXECUTE format('INSERT INTO %s (%s) %s', rollup.stored,
                   (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
                      FROM pg_attribute WHERE attrelid = {view}::regclass AND attnum > 0),
                   {definition});
    EXECUTE format('DELETE FROM %1$s WHERE %2$s = (SELECT max(%2$s) FROM %1$s)',
                   rollup.stored, rollup.bucket);{shown}
END
"""

# If the query has columns that the history lacks, every bucket that the old rollup had is computed
# anew. The old row stays where the raw data has no row for it any more, and where the raw data may
# be incomplete: in the first bucket for which a group still has raw data, if the group has older
# buckets, and the result is another one than before. The raw data of a rollup over a rollup is
# further down: there the old row stays up to the first bucket after the oldest raw row.
#
# Both are joined by their keys, which takes half as long as sorting them together. NULL is equal to
# NULL there, and equal is what the type of a key says, whatever = the search_path finds: where that
# makes a difference, rows of the keys are compared, which is slower.
_RESTORED = """
DECLARE
    aside CONSTANT regclass := to_regclass('pg_temp.{aside}');
    view CONSTANT regclass := {view};
    keys CONSTANT text[] := {keys};
    copied CONSTANT text[] := {copied};
    rollup record;
    raw record;
    below record;
    different text;
    kept text;
    added text;
    oldest text;
    incomplete boolean;
    trusted text;
    groups text;
    matched text;
BEGIN
    IF aside IS NULL THEN
        RAISE EXCEPTION '%: its history was not set aside', {title} USING HINT = {hint};
    END IF;
    SELECT string_agg(format('%I was %s and is %s', name,
               coalesce(format_type(o.atttypid, NULL), 'missing'),
               coalesce(format_type(n.atttypid, NULL), 'missing')), ', ')
      INTO different
      FROM unnest(keys || copied) AS name
      LEFT JOIN pg_attribute o ON o.attrelid = aside AND o.attname = name
      LEFT JOIN pg_attribute n ON n.attrelid = view AND n.attname = name
     WHERE o.atttypid IS DISTINCT FROM n.atttypid;
    IF different IS NOT NULL THEN
        RAISE EXCEPTION '%: its history cannot be copied: %', {title}, different
            USING HINT = 'leave such a column out of "copied"; its former values are then lost';
    END IF;{found}
    SELECT string_agg(quote_ident(name), ', ') INTO kept FROM unnest(keys || copied) AS name;
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO added
      FROM pg_attribute
     WHERE attrelid = view AND attnum > 0 AND NOT attname = ANY (keys || copied);
    IF added IS NULL THEN
        EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM %s', rollup.stored, kept, aside);
    ELSE
        SELECT rollup.source_schema AS schema, rollup.source_name AS name INTO raw;
        LOOP
            SELECT a.hypertable_schema AS schema, a.hypertable_name AS name INTO below
              FROM timescaledb_information.continuous_aggregates a
             WHERE (a.materialization_hypertable_schema, a.materialization_hypertable_name)
                 = (raw.schema, raw.name);
            EXIT WHEN NOT FOUND;
            raw := below;
        END LOOP;
        IF (raw.schema, raw.name) = (rollup.source_schema, rollup.source_name) THEN
            trusted := format('_doubtful.%s IS NULL OR %s', rollup.bucket,
                (SELECT string_agg(format('_fresh.%1$I::text IS NOT DISTINCT FROM _old.%1$I::text',
                                          name), ' AND ') FROM unnest(copied) AS name));
        ELSE
            SELECT format('SELECT min(%I) FROM %I.%I', d.column_name, raw.schema, raw.name)
              INTO trusted FROM timescaledb_information.dimensions d
             WHERE (d.hypertable_schema, d.hypertable_name) = (raw.schema, raw.name)
               AND d.dimension_number = 1;
            EXECUTE trusted INTO oldest;
            SELECT format('SELECT EXISTS (SELECT FROM %1$I.%2$I WHERE %3$I < %4$L'
                          ' AND %3$I > (SELECT min(%3$I) FROM %1$I.%2$I))',
                          rollup.source_schema, rollup.source_name, d.column_name, oldest)
              INTO trusted FROM timescaledb_information.dimensions d
             WHERE (d.hypertable_schema, d.hypertable_name)
                 = (rollup.source_schema, rollup.source_name) AND d.dimension_number = 1;
            EXECUTE trusted INTO incomplete;
            trusted := CASE WHEN oldest IS NULL THEN 'false' WHEN NOT incomplete THEN 'true'
                            ELSE format('_fresh.%s >= %L', rollup.bucket, oldest) END;
        END IF;
        EXECUTE (SELECT format('SELECT EXISTS (SELECT FROM %s WHERE %s)', aside,
                               string_agg(format('%I IS NULL', name), ' OR ')
                               || CASE WHEN bool_or(t.typnamespace <> 'pg_catalog'::regnamespace)
                                       THEN ' OR true' ELSE '' END)
                   FROM unnest(keys) AS name
                   JOIN pg_attribute n ON n.attrelid = aside AND n.attname = name
                   JOIN pg_type t ON t.oid = n.atttypid) INTO incomplete;
        IF incomplete THEN
            EXECUTE format('CREATE TEMPORARY TABLE {aside}_keys ON COMMIT DROP AS'
                           ' SELECT %s FROM %s LIMIT 0', (SELECT string_agg(quote_ident(name), ', ')
                           FROM unnest(keys) AS name), aside);
            SELECT format('ROW(%s)::{aside}_keys = ROW(%s)::{aside}_keys',
                          string_agg(format('_fresh.%I', name), ', '),
                          string_agg(format('%%1$s.%I', name), ', '))
              INTO matched FROM unnest(keys) AS name;
        ELSE
            SELECT string_agg(format('_fresh.%1$I = %%1$s.%1$I', name), ' AND ')
              INTO matched FROM unnest(keys) AS name;
        END IF;
        SELECT string_agg(quote_ident(name) || ', ', '') INTO groups
          FROM unnest(keys) AS name WHERE quote_ident(name) <> rollup.bucket;
        EXECUTE format($query$
            INSERT INTO %1$s (%2$s, %3$s)
            WITH _fresh AS MATERIALIZED (
                SELECT * FROM (%4$s) AS _query WHERE %5$s <= (SELECT max(%5$s) FROM %6$s)
            ), _doubtful AS (
                SELECT %7$s min(%5$s) FILTER (WHERE _fresh) AS %5$s
                  FROM (SELECT %7$s min(%5$s) AS %5$s, true AS _fresh FROM _fresh GROUP BY %7$s ()
                         UNION ALL
                        SELECT %7$s min(%5$s), false FROM %6$s GROUP BY %7$s ()) AS _first
                 GROUP BY %7$s ()
                HAVING min(%5$s) FILTER (WHERE _fresh) > min(%5$s) FILTER (WHERE NOT _fresh)
            )
            SELECT %8$s, %9$s
              FROM _fresh FULL JOIN %6$s AS _old ON %10$s
              LEFT JOIN _doubtful ON %11$s
             CROSS JOIN LATERAL (SELECT _fresh.%5$s IS NOT NULL
                                        AND (_old.%5$s IS NULL OR %12$s) AS _is_fresh) AS _chosen
            $query$,
            rollup.stored, kept, added, {definition}, rollup.bucket, aside, groups,
            (SELECT string_agg(format('CASE WHEN _is_fresh THEN _fresh.%1$I ELSE _old.%1$I END',
                                      name), ', ') FROM unnest(keys || copied) AS name),
            (SELECT string_agg(format('CASE WHEN _is_fresh THEN _fresh.%I END', attname), ', '
                               ORDER BY attnum)
               FROM pg_attribute
              WHERE attrelid = view AND attnum > 0 AND NOT attname = ANY (keys || copied)),
            format(matched, '_old'), format(matched, '_doubtful'), trusted);
        DROP TABLE IF EXISTS pg_temp.{aside}_keys;
    END IF;{shown}
    EXECUTE format('DROP TABLE %s', aside);
END
"""

# --- the numbers --------------------------------------------------------------------------------

_STORED = sa.text("""
SELECT a.view_schema, a.view_name, d.column_name AS bucket, r.column_name AS source_column,
       quote_ident(a.materialization_hypertable_schema) || '.'
           || quote_ident(a.materialization_hypertable_name) AS stored,
       quote_ident(a.hypertable_schema) || '.' || quote_ident(a.hypertable_name) AS source
  FROM timescaledb_information.continuous_aggregates a
  JOIN timescaledb_information.dimensions d ON d.dimension_number = 1
   AND (d.hypertable_schema, d.hypertable_name)
     = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
  JOIN timescaledb_information.dimensions r ON r.dimension_number = 1
   AND (r.hypertable_schema, r.hypertable_name) = (a.hypertable_schema, a.hypertable_name)
""")


def uncovered(connection: Connection, rollup: Key, kept: Sequence[str] = ()) -> str:
    """How many buckets of a rollup have no raw data any more, in words.

    Empty where there is no saying: where the rollup is a view for want of TimescaleDB.

    Args:
        kept: SQL that is true for a row whose raw data is gone although there is older data of
            others, and the columns that this asks for; without them only the oldest raw row counts.
    """
    if detect(connection) != COMMUNITY:
        return ""
    listed = connection.execute(_STORED).all()
    found = next((row for row in listed if (row.view_schema, row.view_name) == rollup), None)
    if found is None:
        return ""
    by_stored = {row.stored: row for row in listed}
    raw = found
    while raw.source in by_stored:
        raw = by_stored[raw.source]
    bucket, time = sql.ident(found.bucket), sql.ident(raw.source_column)
    oldest = f"SELECT min({time}) FROM {raw.source}"
    covered = f"SELECT max({bucket}) FROM {found.stored} WHERE {bucket} <= ({oldest})"
    gone, *columns = kept or ("false", bucket)
    row = connection.exec_driver_sql(
        f"SELECT count(DISTINCT {bucket}) AS buckets, min({bucket}) AS first,"
        f" max({bucket}) AS last FROM (SELECT DISTINCT {', '.join(columns)} FROM {found.stored}) r"
        f" WHERE ({oldest}) IS NULL OR {bucket} < ({covered}) OR {gone}",
        execution_options={"no_parameters": True},
    ).one()
    if row.buckets == 0:
        return "the raw data here covers all its buckets"
    first, last = (f"{one:%Y-%m-%d}" if hasattr(one, "year") else one for one in row[1:])
    span = ""
    if hasattr(row.first, "year") and (years := (row.last - row.first).days / 365.25) >= 1:
        span = f", {years:.1f} years,"
    return f"{row.buckets} buckets from {first} to {last}{span} have no raw data any more"
