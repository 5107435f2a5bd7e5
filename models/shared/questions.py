"""Functions that answer what products ask of series: from rollups where those can, else from rows.

They read the tenant views with the rights of the caller, so they answer for ``current_tenant()``.
Each puts its query together of only those relations that the range needs: a year by day reads the
rollup by day, and at the edges the one by hour and the rows. What retention deleted is no data.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

from ddl import Declared, Function
from ddl.kinds.columnstore import ColumnstoreState
from ddl.kinds.refresh_policy import RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.time_series_checks import TIMESERIES, days

_CALLERS = ("fleet_app", "fleet_operator", "fleet_operator_read")
_MOST_BUCKETS = 100_000

RANGE = "starts timestamptz, ends timestamptz"
"""The arguments of a range: from ``starts`` on, before ``ends``."""


def required(condition: str, expected: str, found: str) -> str:
    """PL/pgSQL that fails unless ``condition`` is true; ``found`` is an SQL expression."""
    return (
        f"if ({condition}) is not true then\n"
        f"  raise exception '{{name}}: expected {expected}, found %', coalesce(({found})::text,"
        " 'NULL')\n    using errcode = 'invalid_parameter_value';\n"
        "end if;\n"
    )


VALID_RANGE = required(
    "isfinite(starts) and isfinite(ends) and starts <= ends",
    "starts and ends to be moments, ends not before starts",
    "coalesce(starts::text, 'NULL') || ' and ' || coalesce(ends::text, 'NULL')",
)
"""Part of the ``checks`` of a `question`; a range without length is valid and empty."""


def question(
    name: str,
    arguments: str,
    *,
    returns: str,
    checks: str,
    body: str,
    comment: str,
    variables: str = "",
) -> None:
    """Declare a function, in PL/pgSQL, that reads series of the current tenant.

    Args:
        checks: what is wrong with the arguments, made by `required`.
        variables: declarations, without DECLARE.
    """
    code = "\n".join(_lines(part) for part in (checks.replace("{name}", name), body))
    declared = f"declare\n{textwrap.indent(_lines(variables), '  ')}\n" if variables else ""
    Function(
        name,
        arguments,
        returns=returns,
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        volatility="stable",
        parallel="safe",
        # The columns of the result have names of aggregates, too.
        body=f"#variable_conflict use_column\n{declared}begin\n{textwrap.indent(code, '  ')}\nend",
        grants=dict.fromkeys(_CALLERS, "execute"),
        comment=comment,
        metadata=Base.metadata,
    )


def _lines(text: str) -> str:
    return textwrap.dedent(text).strip()


# --- parts of a range ------------------------------------------------------------------------

PARTS = "starts, ends, hour_from, hour_to, day_from, day_to"
"""$1 to $6 of a query over the ``parts`` of `Parts`."""


@dataclass(frozen=True)
class Parts:
    """How a range is put together of a series and its rollups.

    Whole hours and days, of UTC, come from rollups, up to where their refresh policy has stored
    them: what is newer a rollup would compute, for all that is in the rows and not only for what is
    asked.

    Args:
        rows: the series.
        hourly: its rollup by hour.
        daily: its rollup by day, if there is one.
        of_rows: the query of the series, with ``{view}``, and with ``{starts}`` and ``{ends}`` for
            the range; ``{until}`` is its end in PL/pgSQL.
        of_rollup: the same of a rollup, with the same columns.
        by_hour: the condition, in PL/pgSQL, under which whole hours may come from a rollup.
        by_day: the same for whole days.
        declares: variables that ``of_rows`` needs, as declarations of PL/pgSQL.
    """

    rows: str
    hourly: str
    of_rows: str = field(kw_only=True)
    of_rollup: str = field(kw_only=True)
    daily: str | None = None
    by_hour: str = "true"
    by_day: str = "true"
    declares: str = ""

    @property
    def variables(self) -> str:
        """For the declarations of a `question`."""
        return f"""
parts text[] := '{{}}';
hours_since timestamptz := {self._since(self.hourly)};
days_since timestamptz := {self._since(self.daily or self.hourly)};
hour_from timestamptz := date_bin('1 hour', starts + interval '59:59.999999', '2000-01-03Z');
hour_to timestamptz := date_bin('1 hour', {_stored(self.hourly)}, '2000-01-03Z');
day_from timestamptz := date_bin('1 day', starts + interval '23:59:59.999999', '2000-01-03Z');
day_to timestamptz := date_bin('1 day', {_stored(self.daily or self.hourly)}, '2000-01-03Z');
{self.declares.strip()}
"""

    @property
    def code(self) -> str:
        """PL/pgSQL that puts the queries into ``parts``; together they have each row once."""
        by_day = self.by_day if self.daily else "false"
        found = f"""
if hour_from >= hour_to or ({self.by_hour}) is not true then
  hour_from := ends;
  hour_to := ends;
end if;
day_from := greatest(day_from, date_bin('1 day', days_since, '2000-01-03Z') + interval '1 day');
if hour_from >= hour_to or day_from >= day_to or ({by_day}) is not true then
  day_from := hour_to;
  day_to := hour_to;
end if;
-- Rows may be kept for longer than their hours.
hour_from := least(day_from, greatest(hour_from,
  date_bin('1 hour', hours_since, '2000-01-03Z') + interval '1 hour'));
if day_to < hours_since then
  hour_to := day_to;
end if;
"""
        for query, view, starts, ends in (
            (self.of_rows, self.rows, "starts", "hour_from"),
            (self.of_rollup, self.hourly, "hour_from", "day_from"),
            (self.of_rollup, self.daily, "day_from", "day_to"),
            (self.of_rollup, self.hourly, "day_to", "hour_to"),
            (self.of_rows, self.rows, "hour_to", "ends"),
        ):
            if view is not None:
                values = {"{view}": f"public.{view}", "{starts}": starts, "{ends}": ends}
                values["{until}"] = f"({ends})"
                found += (
                    f"if {starts} < {ends} then\n"
                    f"  parts := array_append(parts, $part${_filled(query, values)}$part$);\n"
                    "end if;\n"
                )
        return found

    def _since(self, rollup: str) -> str:
        """From when on a rollup has what the rows have; NULL: from the beginning."""
        horizon = f"(select complete_from from public.data_horizons where relation = '{rollup}')"
        history = kept(rollup)
        if days(history) >= days(kept(self.rows)):
            return horizon
        return f"greatest(now() - interval '{history}', {horizon})"


def _filled(query: str, values: Mapping[str, str]) -> str:
    numbers = {name: f"${at}" for at, name in enumerate(PARTS.split(", "), start=1)}
    for word, value in values.items():
        query = query.replace(word, numbers.get(value, value))
    return _lines(query)


def _stored(rollup: str) -> str:
    refresh = Declared.on(Base.metadata).of(RefreshPolicyState)[(TIMESERIES, rollup)]
    late = f"interval '{refresh.end_offset}' - interval '{refresh.every}'"
    return f"least(ends, now() - {late})"


def kept(relation: str) -> str:
    """For how long a series or rollup keeps its rows, as an interval."""
    return Declared.on(Base.metadata).of(RetentionPolicyState)[(TIMESERIES, relation)].drop_after


def stored_by_column_after(relation: str) -> str | None:
    """From what age on the rows of a series are in the columnstore, as an interval."""
    return Declared.on(Base.metadata).of(ColumnstoreState)[(TIMESERIES, relation)].after


UNION = "array_to_string(parts, ' UNION ALL ')"
"""The parts as one query; an empty range has none."""


# --- buckets ---------------------------------------------------------------------------------

BUCKETS = "width interval, timezone text DEFAULT 'UTC'"
"""The arguments of buckets: what ``bucket_starts()`` takes besides the range."""

_WIDTH = "width to be months, days or a time, as in 1 month, 7 days or 15 minutes"

question(
    "bucket_starts",
    f"{RANGE}, {BUCKETS}",
    returns="timestamptz[]",
    checks=VALID_RANGE
    + required("timezone is not null", "a time zone such as Europe/Berlin", "timezone")
    + required("isfinite(width)", _WIDTH, "width")
    + "months := extract(year from width) * 12 + extract(month from width);\n"
    "days := extract(day from width);\n"
    "seconds := extract(hour from width) * 3600 + extract(minute from width) * 60"
    " + extract(second from width);\n"
    + required(
        "width > interval '0' and least(months, days, seconds) >= 0"
        " and num_nonnulls(nullif(months, 0), nullif(days, 0), nullif(seconds, 0)) = 1",
        _WIDTH,
        "width",
    )
    + required(
        f"extract(epoch from ends - starts) / extract(epoch from width) <= {_MOST_BUCKETS}",
        f"at most {_MOST_BUCKETS} buckets, so longer ones or a shorter range",
        "format('%s from %s to %s', width, starts, ends)",
    ),
    variables="""
        months int;
        days int;
        seconds numeric;
        began timestamp := starts at time zone timezone;
        ended timestamp := ends at time zone timezone;
    """,
    body="""
        if starts = ends then
          return '{}';
        elsif seconds > 0 then
          return array(select generate_series(date_bin(width, starts, '2000-01-03Z'),
                                              ends - interval '1 microsecond', width));
        elsif months > 0 then
          began := timestamp '2000-01-01' + make_interval(months => months * floor(
            (extract(year from began) * 12 + extract(month from began) - 24001) / months)::int);
        else
          began := date_bin(width, began, '2000-01-03');
        end if;
        -- A local time may be skipped; of one that occurs twice, the server takes the second. So
        -- there is one bucket before and one after, to be sure.
        return array(
          select moment
            from (select moment, lead(moment, 1, 'infinity') over (order by moment) as next
                    from (select distinct m.moment - case
                                 when (m.moment - interval '1 hour') at time zone timezone = m.local
                                 then interval '1 hour' else interval '0' end as moment
                            from (select s as local, s at time zone timezone as moment
                                    from generate_series(began - width, ended + width, width) as s
                                 ) as m) as d) as n
           where moment < ends and next > starts
           order by moment);
    """,
    comment="When the buckets of a range start. Those of days and months start at local midnight, "
    "days counted from a Monday, months from January; those of hours and less are counted in UTC.",
)


def whole(unit: str) -> str:
    """The condition, in PL/pgSQL, that no bucket of ``edges`` starts within an hour, or a day."""
    binned = f"date_bin('1 {unit}', e, '2000-01-03Z')"
    return f"not exists (select from unnest(edges) as e where e <> {binned})"
