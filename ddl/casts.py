"""How ALTER COLUMN … TYPE gets from one type to another, and what is lost on the way.

USING with a cast is an explicit cast, which cuts what is too long without a word:
``'too long'::varchar(3)`` is ``too``. What PostgreSQL does without USING is an assignment as in
INSERT: it refuses what does not fit. So USING stands only where there is no assignment, casts to
the type without its length (the length is then an assignment again). Where the time zone of the
session matters, that is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import inf

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql


@dataclass(frozen=True)
class Cast:
    """The way from one type to another.

    ``using`` is the expression of USING, None where PostgreSQL assigns without one; ``loses`` says
    what the column no longer has afterwards, empty if nothing; ``refusal`` why there is no way.
    ``always_fits`` is true where no value can be refused; ``zone`` is the time zone that the
    session has to have, if any.
    """

    using: str | None = None
    loses: str = ""
    refusal: str = ""
    always_fits: bool = False
    zone: str | None = None


ASSIGNMENT = Cast()


@dataclass(frozen=True)
class _Type:
    """A type of the server, of a domain the type below it.

    ``spelling`` with its length, ``plain`` without; ``name`` is that in pg_type, ``array`` true
    where they are those of the elements. ``checked`` is true for a domain.
    """

    oid: int
    name: str
    category: str
    typtype: str
    spelling: str
    plain: str
    array: bool
    checked: bool

    @property
    def numbers(self) -> list[int]:
        """Length, or precision and scale: [10, 2] of ``numeric(10,2)``."""
        match = re.search(r"\((-?\d+(?:,-?\d+)*)\)", self.spelling)
        return [int(number) for number in match[1].split(",")] if match else []


_TYPE = sa.text("""
WITH RECURSIVE below AS (
    SELECT t.*, CAST(:spelling AS text) AS spelling
      FROM pg_type t WHERE t.oid = to_regtype(:spelling)
    UNION ALL
    SELECT t.*, format_type(t.oid, b.typtypmod)
      FROM below b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
), base AS (
    SELECT spelling, oid, CASE WHEN typcategory = 'A' THEN typelem ELSE 0 END AS element
      FROM below WHERE typtype <> 'd'
)
SELECT t.oid, t.typname AS name, t.typcategory AS category, t.typtype,
       CASE WHEN b.element = 0 THEN b.spelling ELSE rtrim(b.spelling, '[]') END AS spelling,
       format_type(b.oid, -1) AS plain, b.element <> 0 AS array,
       (SELECT count(*) > 1 FROM below) OR coalesce(e.typtype = 'd', false) AS checked
  FROM base b LEFT JOIN pg_type e ON e.oid = b.element
  JOIN pg_type t ON t.oid = coalesce(nullif(e.typbasetype, 0), e.oid, b.oid)
""")

_CAST = sa.text("""
SELECT c.castcontext AS context, c.castmethod AS method, coalesce(p.pronargs, 0) AS arguments
  FROM pg_cast c LEFT JOIN pg_proc p ON p.oid = c.castfunc
 WHERE (c.castsource, c.casttarget) = (:source, :target)
""")


def cast(connection: Connection, column: str, before: str, after: str) -> Cast:
    """How a column gets from one type to another, both in the server's spelling.

    Args:
        column: its full name, ``public.items.n``, for messages too.
    """
    name = sql.ident(column.rpartition(".")[2])
    source, target = _type(connection, before), _type(connection, after)
    if source is None or target is None:
        # An enum or a domain that comes or goes with this revision.
        direct = source is not None and source.category == "S" and not source.array
        return Cast(f"{name}::{after}" if direct else f"{name}::text::{after}")
    if (source.name, target.name) in _ZONED and source.array == target.array:
        return Cast(None, _loses(source, target), always_fits=not target.checked, zone="UTC")
    fits = source.array == target.array and _always_fits(source, target)
    if source.array == target.array and source.oid == target.oid:
        return Cast(None, _loses(source, target), always_fits=fits)
    found = _path(connection, source, target)
    if found is None:
        return _refusal(column, before, after)
    zone = "UTC" if found.method == "i" and _is_zoned(source, target) else None
    made = _cast(name, source, target, after, found)
    return replace(made, always_fits=fits and made.using is None, zone=zone)


def _cast(name: str, source: _Type, target: _Type, after: str, found: _Path) -> Cast:
    loses = _loses(source, target) if source.array == target.array else ""
    if found.method == "f" and found.context != "i" and not loses:
        loses = _unknown_loss(source, target)
    if found.context != "e":
        return Cast(None, loses)
    if found.method == "text":
        return Cast(f"{name}::text::{target.plain}", loses)
    # A cast to bit takes the length as an argument of its own, and 1 without.
    plain = target.plain if target.numbers and found.arguments < 2 else after
    return Cast(f"{name}::{plain}", loses)


def _type(connection: Connection, spelling: str) -> _Type | None:
    row = connection.execute(_TYPE, {"spelling": spelling}).mappings().one_or_none()
    return _Type(**row) if row is not None else None


@dataclass(frozen=True)
class _Path:
    """As in pg_cast: ``context`` is i(mplicit), a(ssignment) or e(xplicit).

    ``method`` is f(unction), b(inary), i(nput and output), or ``text`` for a way through text.
    """

    context: str
    method: str
    arguments: int = 0


def _path(connection: Connection, source: _Type, target: _Type) -> _Path | None:
    """What find_coercion_pathway() of PostgreSQL finds; of arrays by their elements."""
    if source.array == target.array:
        row = connection.execute(_CAST, {"source": source.oid, "target": target.oid}).one_or_none()
        if row is not None:
            return _Path(row.context, row.method, row.arguments)
    if target.category == "S" and (source.array or not target.array):
        return _Path("a", "i")
    if source.category == "S" and (target.array or not source.array):
        return _Path("e", "i")
    if "e" in (source.typtype, target.typtype) and not source.array and not target.array:
        return _Path("e", "text")
    return None


def _refusal(column: str, before: str, after: str) -> Cast:
    return Cast(
        refusal=(
            f"column {column}: a change between {before} and {after} is reversible only with casts"
            f" in both directions, and PostgreSQL has none from {before} to {after}"
            "; add a column of the new type instead, copy the values, and"
            " drop the old column in a later revision"
        )
    )


_ZONED = {
    ("timestamptz", "timestamp"),
    ("timestamptz", "date"),
    ("timestamptz", "time"),
    ("timestamptz", "timetz"),
    ("timestamp", "timestamptz"),
    ("date", "timestamptz"),
    ("time", "timetz"),
}
"""What PostgreSQL assigns in the time zone of the session.

That is set, since USING would not do: the bounds of chunks are read in it as well. Besides,
between timestamps with and without zone PostgreSQL then has nothing to rewrite.
"""


def _is_zoned(source: _Type, target: _Type) -> bool:
    """Whether a cast by input and output reads or writes a zone, of elements and ranges too."""
    return any(name in one.plain for one in (source, target) for name in _WITH_ZONE)


_WITH_ZONE = ("with time zone", "tstzrange", "tstzmultirange")


# --- what is refused -----------------------------------------------------------------------------


def _always_fits(source: _Type, target: _Type) -> bool:
    """True where an assignment can refuse no value; False also where that is not known."""
    if target.checked:
        return False
    lengths = source.numbers[:1], target.numbers[:1]
    if target.name in _TEXTS:
        # Without a length, character is one character.
        shorter = source.name in ("varchar", "bpchar") and [] < lengths[0] <= lengths[1]
        return shorter or (not lengths[1] and target.name != "bpchar")
    if target.name in ("bit", "varbit") and source.name in ("bit", "varbit"):
        same = source.name == target.name == "bit" and lengths[0] == lengths[1]
        return same or (
            target.name == "varbit" and (not lengths[1] or [] < lengths[0] <= lengths[1])
        )
    if _is_number(source) and _is_number(target):
        return _has_room(source, target)
    moments = (*_TIMES, "date")
    return (source.name in moments and target.name in moments) or source.oid == target.oid


def _has_room(source: _Type, target: _Type) -> bool:
    """True where the digits before the decimal point fit, of whatever number."""
    integers = list(_INTEGERS)
    if source.name in _INTEGERS and target.name in _INTEGERS:
        return integers.index(source.name) <= integers.index(target.name)
    if target.name in _FLOATS:
        return source.name in _INTEGERS or source.name in ("float4", target.name)
    if target.name != "numeric" or not target.numbers or source.name in _FLOATS:
        return target.name == source.name or (target.name == "numeric" and not target.numbers)
    # What is rounded may need one digit more: 999.9 as 1000.
    rounded = _scale(source) > _scale(target)
    return _digits(source) - _scale(source) + rounded <= _digits(target) - _scale(target)


# --- what is lost --------------------------------------------------------------------------------

_INTEGERS = {"int2": 5, "int4": 10, "int8": 19}
"""Integers with their decimal digits."""

_FLOATS = {"float4": 6, "float8": 15}
"""Floating-point numbers with the decimal digits that they certainly keep."""

_TIMES = ("timestamp", "timestamptz", "time", "timetz", "interval")
"""Types that have a fraction of a second."""

_TEXTS = ("text", "varchar", "bpchar")

_JSON = "the order of keys, duplicate keys and white space"

_LOSSES = {
    ("timestamp", "date"): "the time of day",
    ("timestamptz", "date"): "the time of day",
    ("timestamp", "time"): "the date",
    ("timestamptz", "time"): "the date",
    ("timestamptz", "timetz"): "the date",
    ("timetz", "time"): "the time zone",
    ("interval", "time"): "days, months and years",
    ("json", "jsonb"): _JSON,
    ("inet", "cidr"): "the bits to the right of the netmask",
    ("int4", "bool"): "every number but 0 and 1",
    ("int4", "bit"): "the bits to the left of the length",
    ("int8", "bit"): "the bits to the left of the length",
    **{(text, "date"): "the time of day" for text in _TEXTS},
    **{(text, "time"): "the date and the time zone" for text in _TEXTS},
    **{(text, "timetz"): "the date" for text in _TEXTS},
    **{(text, "timestamp"): "the time zone" for text in _TEXTS},
    **{(text, "jsonb"): _JSON for text in _TEXTS},
    **{(text, "char"): "all but the first byte" for text in _TEXTS},
    ("text", "name"): "what is longer than 63 bytes",
    ("varchar", "name"): "what is longer than 63 bytes",
    ("text", "bpchar"): "blanks at the end of values",
    ("varchar", "bpchar"): "blanks at the end of values",
    ("json", "bpchar"): "blanks at the end of values",
}
"""By the names of both types in pg_type."""


def _loses(source: _Type, target: _Type) -> str:
    """What an assignment loses without a word; not what it refuses, such as too long a text."""
    found = _LOSSES.get((source.name, target.name), "")
    if found:
        return found
    if _is_number(target) and (_is_number(source) or source.name in (*_TEXTS, "jsonb")):
        return _of_numbers(source, target)
    if source.name in (*_TIMES, *_TEXTS) and target.name in _TIMES:
        kept = _second_digits(target)
        if _second_digits(source) > kept:
            return f"fractions of a second{f' beyond {kept} digits' if kept else ''}"
    if target.name == "interval" and _fields(target) not in ("", _fields(source)):
        return f"what interval {_fields(target)} cannot hold"
    return ""


def _is_number(type_: _Type) -> bool:
    return type_.name in {*_INTEGERS, *_FLOATS, "numeric", "money"}


def _of_numbers(source: _Type, target: _Type) -> str:
    """Rounding: of digits after the decimal point, else of digits altogether."""
    if source.name in _TEXTS and target.name in _INTEGERS:
        return ""  # refused
    scale = _scale(target)
    if _scale(source) > scale:
        return "digits after the decimal point" + (f" beyond {scale}" if scale else "")
    digits = _FLOATS.get(target.name, inf)
    if target.name == "numeric" and source.name in _FLOATS:
        # The cast itself writes no more than these.
        return f"digits beyond the first {_FLOATS[source.name]}"
    return f"digits beyond the first {digits}" if _digits(source) > digits else ""


def _scale(type_: _Type) -> float:
    """Digits after the decimal point."""
    if type_.name in _INTEGERS:
        return 0
    if type_.name == "money":
        return 2
    return type_.numbers[1] if type_.name == "numeric" and type_.numbers else inf


def _digits(type_: _Type) -> float:
    """Digits altogether."""
    if type_.name in _FLOATS or type_.name in _INTEGERS:
        return _FLOATS.get(type_.name) or _INTEGERS[type_.name]
    return type_.numbers[0] if type_.name == "numeric" and type_.numbers else inf


def _second_digits(type_: _Type) -> int:
    """Digits of the fraction of a second, 0 to 6."""
    return type_.numbers[0] if type_.numbers and type_.name in _TIMES else 6


def _fields(type_: _Type) -> str:
    """``day to minute`` of an interval; empty if all."""
    return re.sub(r"\(\d\)", "", type_.spelling.removeprefix("interval")).strip()


_KEPT = {"char", "oid", "bool", "bit", "inet", "name", "jsonb"}
"""Types of PostgreSQL whose casts by a function keep everything."""


def _unknown_loss(source: _Type, target: _Type) -> str:
    """For casts of extensions, of shapes and the like, of which we cannot know."""
    kept = source.category == "R" or source.name in (*_KEPT, *_TIMES) or _is_number(source)
    if kept or target.category in "SR" or target.name == "xml" or source.name.startswith("reg"):
        return ""
    return f"what {target.plain} cannot hold of {source.plain}"
