"""What TimescaleDB Community refuses of rollups, refused on every edition when they are compared.

Elsewhere a rollup is a view, so the server there would accept what cannot be deployed. The list is
that of TimescaleDB 2.28 (``tsl/src/continuous_aggs/common.c``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import ArgumentError

from ddl import rollup_indexes, sql
from ddl.base import Declared, Key
from ddl.catalog import Catalog
from ddl.community_tables import check_layout
from ddl.kinds.columnstore import ColumnstoreState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.refresh_policy import RefreshPolicyState
from ddl.kinds.row_level_security import RowLevelSecurityState
from ddl.rollups import RollupState
from ddl.select import Select, parsed


def check_rollups(
    connection: Connection, metadata: MetaData, target: Catalog, shadows: Mapping[str, str]
) -> None:
    """Reject a rollup that TimescaleDB would not take as continuous aggregate.

    Args:
        target: the models, ``metadata``, as the server has read them.
        shadows: their schemas to those in which the rollups are views; empty where TimescaleDB has
            taken their queries.

    Raises:
        alembic.util.CommandError: says what was found and what to write.
    """
    rollups = target.of(RollupState)
    queries = {key: parsed(state.definition) for key, state in rollups.items()}
    for key, state in rollups.items() if shadows else ():
        view = f"{sql.ident(shadows[key[0]])}.{sql.ident(key[1])}"
        rule = connection.execute(_RULE, {"view": view}).one()
        for reason in _refused(rule.tree, state.definition):
            raise CommandError(f"{state.title()}: {reason}")
    widths: dict[Key, _Bucket] = {}
    for key, state in rollups.items():
        widths[key] = _bucket(connection, state)
    for key, state in rollups.items():
        _check_source(target, state, widths, queries)
        _check_refresh(connection, target, state, widths[key])
        _check_indexes(state, queries[key])
        # As declared: TimescaleDB itself adds the time that orderby lacks.
        store = Declared.on(metadata).of(ColumnstoreState).get(key)
        if store is not None:
            _check_rollup_layout(store, queries[key])


_RULE = sa.text("""
SELECT r.ev_action::text AS tree FROM pg_rewrite r
 WHERE r.ev_class = to_regclass(:view) AND r.rulename = '_RETURN'
""")


def _refused(tree: str, definition: str) -> Iterator[str]:
    """Parts of a query that TimescaleDB does not aggregate; ``tree`` is as the server parsed it."""
    head = tree.partition(":rtable")[0]
    tail = tree[tree.rindex(":groupClause") :]
    joins = set(re.findall(r":jointype (\d)", tree))
    for found, part, instead in (
        (":setOperations <>" not in tail, "UNION, EXCEPT or INTERSECT", "a rollup for each"),
        (":hasWindowFuncs true" in head, "a window function", "compute it over the rollup"),
        (
            ":hasSubLinks true" in head or ":cteList (" in head,
            "a subquery or WITH",
            "join the table",
        ),
        (
            tree.count(":rtekind 1 ") > len(re.findall(r"\bLATERAL \(", definition)),
            "a subquery in FROM",
            "join the table, or write LATERAL (…)",
        ),
        (joins - {"0", "1"}, "RIGHT or FULL JOIN", "an INNER or LEFT JOIN"),
        (":distinctClause <>" not in tail, "DISTINCT", "group by the columns"),
        (":groupingSets <>" not in tail, "GROUPING SETS, CUBE or ROLLUP", "a rollup for each"),
        (
            ":limitOffset <>" not in tail or ":limitCount <>" not in tail,
            "LIMIT or OFFSET",
            "limit what reads the rollup",
        ),
        (re.search(r"\bTABLESAMPLE\b", definition), "TABLESAMPLE", "all rows"),
        (re.search(r"\bFROM \(*ONLY\b", definition), "FROM ONLY", "FROM"),
    ):
        if found:
            yield f"expected a query that TimescaleDB can keep, found {part}; write {instead}"


class _Bucket:
    """The bucket of a rollup: its column in the source, and its width."""

    def __init__(self, column: str, months: int, seconds: float, rest: tuple[str, ...]) -> None:
        self.column = column
        self.rest = rest
        self.days = months * 30 + seconds / 86400
        self.is_fixed = months == 0 and not any("::text" in one for one in rest)


_CALL = re.compile(r"\(?time_bucket\((?P<arguments>.*?)\)\)?", re.S)


def _bucket(connection: Connection, state: RollupState) -> _Bucket:
    """The bucket by which a rollup groups."""
    grouped = re.split(r"\n *GROUP BY ", state.definition)[-1]
    grouped = re.split(r"\n *(?:HAVING|ORDER BY|WINDOW) ", grouped)[0]
    calls = [
        match
        for one in sql.split_list(grouped)
        if (match := _CALL.fullmatch(one)) and _is_balanced(match["arguments"])
    ]
    if len(calls) != 1:
        raise CommandError(
            f"{state.title()}: expected one time_bucket in GROUP BY, found {len(calls)}; group by "
            "time_bucket('1 hour', ts) AS bucket, and compute others over the rollup"
        )
    width, column, *rest = sql.split_list(calls[0]["arguments"])
    named = re.fullmatch(rf"(?:\w+ => )?(?:(?:{sql.IDENT})\.)?(?P<name>{sql.IDENT})", column)
    if named is None:
        raise CommandError(
            f"{state.title()}: expected the time column in time_bucket, found {column}; write the "
            'column alone, and "offset" => … for what is added to it'
        )
    _check_constant(connection, state, [width, *rest])
    zone = next((one for one in rest if "::text" in one), "'UTC'").removeprefix("timezone => ")
    origin = next((one for one in rest if re.search("::(timestamp|date)", one)), "'epoch'::date")
    try:
        with connection.begin_nested():
            row = connection.exec_driver_sql(
                "SELECT (extract(year FROM w) * 12 + extract(month FROM w))::int AS months,"
                " extract(epoch FROM w - make_interval(months => (extract(year FROM w) * 12"
                " + extract(month FROM w))::int))::float8 AS seconds, isfinite(o) AS finite, z"
                f" FROM (SELECT {width} AS w, timezone({zone}, now()) AS z,"
                f" {origin.removeprefix('origin => ')} AS o) q",
                execution_options={"no_parameters": True},
            ).one()
    except sa.exc.DBAPIError as error:
        raise CommandError(f"{state.title()}: {str(error.orig).splitlines()[0]}") from error
    if row.months and row.seconds:
        raise CommandError(
            f"{state.title()}: expected a bucket of months or of days and hours, found {width}; "
            "write one or the other"
        )
    if row.months <= 0 and row.seconds <= 0:
        raise CommandError(f"{state.title()}: expected a bucket of some length, found {width}")
    if row.finite is False:
        raise CommandError(f"{state.title()}: expected a finite origin, found {origin}")
    given = [one for one in rest if not one.startswith("NULL")]
    if any("interval" in one for one in given) and any("timestamp" in one for one in given):
        raise CommandError(
            f"{state.title()}: expected origin or offset, found both; add the offset to the origin"
        )
    return _Bucket(sql.unquoted(named["name"]), row.months, row.seconds, tuple(rest))


def _check_constant(connection: Connection, state: RollupState, arguments: list[str]) -> None:
    """All but the time is the same for every row, at any time and in any session."""
    for argument in arguments:
        called = [sql.unquoted(name) for name in re.findall(rf"({sql.IDENT})\(", argument)]
        columns = re.search(sql.IDENT, _CONSTANT.sub("", argument))
        if columns or connection.scalar(_CHANGING, {"names": called}):
            raise CommandError(
                f"{state.title()}: expected constants beside the time in time_bucket, found "
                f"{argument}; write the width, zone, origin or offset itself, such as '1 hour'"
            )


_CONSTANT = re.compile(
    rf"""'(?:[^']|'')*'|::[\w ]+|(?:\w+|"offset")\ =>|\b(?:NULL|true|false)\b
    |(?:(?:{sql.IDENT})\.)?(?:{sql.IDENT})\(""",
    re.X,
)
"""Literals with their types, names of arguments, and calls: all but columns and operators."""

_CHANGING = sa.text(
    "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = ANY (CAST(:names AS name[]))"
    " AND provolatile <> 'i')"
)


def _is_balanced(text: str) -> bool:
    """Whether no parenthesis closes that did not open."""
    depths = itertools.accumulate((one == "(") - (one == ")") for one in text)
    return min(depths, default=0) >= 0


def _check_source(
    target: Catalog,
    state: RollupState,
    buckets: Mapping[Key, _Bucket],
    queries: Mapping[Key, Select],
) -> None:
    """It reads one hypertable or rollup, by the column of time, in buckets that fit."""
    bucket = buckets[state.key]
    named = [
        (sql.unquoted(schema), sql.unquoted(name))
        for schema, name in re.findall(rf"({sql.IDENT})\.({sql.IDENT})", queries[state.key].source)
    ]
    hypertables, rollups = target.of(HypertableState), target.of(RollupState)
    sources = [key for key in named if key in hypertables or key in rollups]
    if len(sources) != 1:
        found = ", ".join(".".join(key) for key in sources) or "none"
        raise CommandError(
            f"{state.title()}: expected one hypertable or rollup in FROM, found {found}; join "
            "plain tables only, and read others in another rollup"
        )
    source = sources[0]
    if source in hypertables:
        expected = hypertables[source].time_column
        security = target.of(RowLevelSecurityState).get(source)
        if security is not None and (security.enable or security.force):
            raise CommandError(
                f"{state.title()}: {'.'.join(source)} has row-level security, which excludes "
                "rollups; remove it, and let a view isolate the rows"
            )
    else:
        keys = queries[source].keys.items()
        expected = next((name for name, text in keys if "time_bucket(" in text), "")
        _check_width(state, bucket, source, buckets[source])
    if bucket.column != expected:
        raise CommandError(
            f"{state.title()}: expected the time column {expected} of {'.'.join(source)} in "
            f"time_bucket, found {bucket.column}; write {expected}"
        )


def _check_width(state: RollupState, bucket: _Bucket, source: Key, below: _Bucket) -> None:
    title = f"{state.title()} over rollup {'.'.join(source)}"
    if bucket.is_fixed and not below.is_fixed:
        raise CommandError(
            f"{title}: expected a bucket of months or with a time zone, as there, found one of "
            "hours; write months or the zone, or read what that rollup reads"
        )
    if bucket.days < below.days or (bucket.days / below.days) % 1:
        raise CommandError(
            f"{title}: expected a bucket that is a multiple of {below.days:g} days, found "
            f"{bucket.days:g} days; write a multiple, or read what that rollup reads"
        )


def _check_refresh(
    connection: Connection, target: Catalog, state: RollupState, bucket: _Bucket
) -> None:
    refresh = target.of(RefreshPolicyState).get(state.key)
    if refresh is not None and refresh.start_offset is not None:
        days = "extract(year FROM {0}) * 360 + extract(month FROM {0}) * 30 + extract(epoch FROM"
        days += " {0} - date_trunc('month', {0})) / 86400"
        row = connection.execute(
            sa.text(
                f"SELECT {days.format('a')} - coalesce({days.format('b')}, 0) AS days"
                " FROM (SELECT CAST(:start AS interval) AS a, CAST(:end AS interval) AS b) q"
            ),
            {"start": refresh.start_offset, "end": refresh.end_offset},
        ).one()
        if row.days < 2 * bucket.days:
            raise CommandError(
                f"{refresh.title()}: expected a window of two buckets, {2 * bucket.days:g} days, "
                f"found {float(row.days):g} days; write an earlier start_offset"
            )


def _check_indexes(state: RollupState, query: Select) -> None:
    for index in state.indexes:
        for name in rollup_indexes.names(index):
            if name not in query.columns:
                raise CommandError(
                    f"{state.title()}: indexes expected columns of its query, found {name} in"
                    f" {index!r}; write some of {', '.join(query.columns)}"
                )


def _check_rollup_layout(store: ColumnstoreState, query: Select) -> None:
    name = next((one for one, text in query.keys.items() if "time_bucket(" in text), "")
    try:
        check_layout(store.title(), store, list(query.columns), name)
    except ArgumentError as error:
        raise CommandError(str(error)) from error
