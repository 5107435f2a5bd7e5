"""The functions of TimescaleDB that the query of a rollup calls, where there is no TimescaleDB.

A schema of our own has them with the same names, arguments and results (TimescaleDB's
``src/time_bucket.c`` and ``src/agg_bookend.c``). So a query is one text on every edition: it is
qualified when a view is made of it, and read back without a schema, whoever has the functions.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql

SCHEMA = "timescaledb_substitute"
"""Named like TimescaleDB's own schemas, which nobody takes for a schema of theirs."""

# --- the functions ---------------------------------------------------------------------------

_VERSION = "What a server without TimescaleDB has in the place of its functions, version 1."

# Buckets of days start to count on a Monday; those of months ignore the day. The server inlines
# what is written in SQL. An aggregate in another language than C cannot keep values of types that
# it does not know, so these two keep text.
_FUNCTIONS = """
CREATE SCHEMA IF NOT EXISTS {schema};

CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width interval, ts timestamp, origin timestamp DEFAULT '2000-01-03'
) RETURNS timestamp LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN {months} = 0 THEN date_bin(bucket_width, ts, origin)
    WHEN isfinite(ts) THEN date_trunc('month', origin)
         + make_interval(months => (floor(({months_of_ts} - {months_of_origin}) / {months})
                                    * {months})::int)
    ELSE ts END;

CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width interval, ts timestamptz, origin timestamptz DEFAULT '2000-01-03 00:00:00+00'
) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN {months} = 0 THEN date_bin(bucket_width, ts, origin)
    ELSE {schema}.time_bucket(bucket_width, ts AT TIME ZONE 'UTC', origin AT TIME ZONE 'UTC')
         AT TIME ZONE 'UTC' END;

CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width interval, ts date, origin date DEFAULT '2000-01-03'
) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN {schema}.time_bucket(bucket_width, ts::timestamp, origin::timestamp)::date;

CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width interval, ts timestamp, "offset" interval
) RETURNS timestamp LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN {schema}.time_bucket(bucket_width, ts - "offset") + "offset";

CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width interval, ts timestamptz, "offset" interval
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN {schema}.time_bucket(bucket_width, ts - "offset") + "offset";

CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width interval, ts date, "offset" interval
) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ({schema}.time_bucket(bucket_width, ts - "offset") + "offset")::date;

-- Local time that occurs twice is taken for the later moment. A bucket that began before the
-- earlier one is brought back by as many widths as it lies ahead.
CREATE OR REPLACE FUNCTION {schema}.not_after(
    moment timestamptz, bucket timestamptz, bucket_width interval
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN bucket > moment
    THEN bucket - bucket_width * ceil(extract(epoch FROM bucket - moment)
                                      / extract(epoch FROM bucket_width))::float8
    ELSE bucket END;

CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width interval, ts timestamptz, timezone text,
    origin timestamptz DEFAULT NULL, "offset" interval DEFAULT NULL
) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN {schema}.not_after(
    ts - coalesce("offset", '0'),
    {schema}.time_bucket(
        bucket_width, (ts - coalesce("offset", '0')) AT TIME ZONE timezone,
        coalesce(origin AT TIME ZONE timezone, '2000-01-03')
    ) AT TIME ZONE timezone,
    bucket_width
) + coalesce("offset", '0');
"""

_OF_NUMBERS = """
CREATE OR REPLACE FUNCTION {schema}.time_bucket(
    bucket_width {type}, ts {type}, "offset" {type} DEFAULT 0
) RETURNS {type} LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (ts - ((ts - "offset") % bucket_width + bucket_width) % bucket_width)::{type};
"""

_AGGREGATE = """
CREATE OR REPLACE FUNCTION {schema}.{name}_step(
    state text[], value anyelement, moment anycompatible
) RETURNS text[] LANGUAGE plpgsql STABLE PARALLEL SAFE AS $body$
DECLARE
    kept moment%TYPE := state[2];
BEGIN
    IF moment {before} kept OR (moment IS NOT NULL AND kept IS NULL) THEN
        RETURN ARRAY[value::text, moment::text];
    END IF;
    RETURN state;
END
$body$;

CREATE OR REPLACE FUNCTION {schema}.{name}_value(
    state text[], value anyelement, moment anycompatible
) RETURNS anyelement LANGUAGE plpgsql STABLE PARALLEL SAFE AS $body$
BEGIN
    RETURN state[1];
END
$body$;

CREATE OR REPLACE AGGREGATE {schema}.{name}(anyelement, anycompatible) (
    SFUNC = {schema}.{name}_step, STYPE = text[], FINALFUNC = {schema}.{name}_value,
    FINALFUNC_EXTRA, PARALLEL = SAFE
);
"""


def creation() -> str:
    """The script that creates the schema and its functions, or replaces them."""
    months = "(extract(year FROM {0}) * 12 + extract(month FROM {0}))"
    return "\n".join(
        [
            _FUNCTIONS.format(
                schema=SCHEMA,
                months=months.format("bucket_width"),
                months_of_ts=months.format("ts"),
                months_of_origin=months.format("origin"),
            ).strip(),
            *(_OF_NUMBERS.format(schema=SCHEMA, type=name) for name in _NUMBERS),
            _AGGREGATE.format(schema=SCHEMA, name="first", before="<"),
            _AGGREGATE.format(schema=SCHEMA, name="last", before=">"),
            f"GRANT EXECUTE ON ALL ROUTINES IN SCHEMA {SCHEMA} TO PUBLIC;",
            f"COMMENT ON SCHEMA {SCHEMA} IS {sql.literal(_VERSION)}",
        ]
    )


_NUMBERS = ("smallint", "integer", "bigint")


def removal() -> str:
    """The statement that removes them, and whatever still calls them."""
    return f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"


def missing(connection: Connection) -> bool:
    """Whether the database lacks them, or has another version."""
    query = f"SELECT obj_description(to_regnamespace('{SCHEMA}'), 'pg_namespace')"
    return bool(connection.scalar(sa.text(query)) != _VERSION)


# --- the query -------------------------------------------------------------------------------

_NAMES = "time_bucket|first|last"
_TEXT = r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/"
_CALL = re.compile(rf'{_TEXT}|(?<![\w."$])(?P<name>(?:{_NAMES})\s*\()', re.I | re.S)
# What a view without TimescaleDB called before these functions were there.
_DATE_BIN = re.compile(
    rf"date_bin\(('[^']*'::interval), ((?:(?:{sql.IDENT})\.)?(?:{sql.IDENT})),"
    r" '2000-01-03 00:00:00\+00'::timestamp with time zone\)"
)
_ONE_RELATION = re.compile(
    rf"^ *FROM (?:(?:{sql.IDENT})\.)?({sql.IDENT})(?: ({sql.IDENT}))?$", re.M
)


def qualified(query: str) -> str:
    """``query``, calling the functions of `SCHEMA`."""

    def call(match: re.Match[str]) -> str:
        return match[0] if match["name"] is None else f"{SCHEMA}.{match[0]}"

    return _CALL.sub(call, query)


def neutral(query: str, schema: str | None) -> str:
    """``query`` as one server prints it, in the words that a model could have on any edition.

    ``schema`` is the one of the extension. Before version 16 a server also writes the relation
    before each column where there is only one.
    """
    schemas = "|".join(re.escape(sql.ident(one)) for one in (SCHEMA, schema) if one is not None)
    calls = re.compile(rf'{_TEXT}|(?<![\w."$])(?:{schemas})\.(?=(?:{_NAMES})\()', re.S)
    query = calls.sub(lambda match: match[0] if match[0][0] in "'-/" else "", query)
    query = _DATE_BIN.sub(r"time_bucket(\1, \2)", query)
    relations = _ONE_RELATION.findall(query)
    if len(relations) != 1:
        return query
    prefix = re.escape(relations[0][1] or relations[0][0])
    columns = re.compile(
        rf'{_TEXT}|(?<![\w."$:]){prefix}\.(?=(?:{sql.IDENT})(?![\w$"]|\.|\())', re.S
    )
    return columns.sub(lambda match: match[0] if match[0][0] in "'-/" else "", query)
