"""The length of an interval, before any server has seen it."""

from __future__ import annotations

import re

from sqlalchemy.exc import ArgumentError

_DAYS = {
    r"s|secs?|seconds?": 1 / 86400,
    r"m|mins?|minutes?": 1 / 1440,
    r"h|hrs?|hours?": 1 / 24,
    r"d|days?": 1,
    r"w|weeks?": 7,
    r"mons?|months?": 30,
    r"y|yrs?|years?": 360,
}
_PART = re.compile(r"\s*(?:(\d+):(\d\d)(?::(\d\d(?:\.\d+)?))?|(\d+(?:\.\d+)?)\s*([a-z]+))", re.I)


def days(interval: str) -> float:
    """The length in days as PostgreSQL compares intervals: a month has 30 days, a year 360.

    Raises:
        sqlalchemy.exc.ArgumentError: it is neither numbers with units nor ``hours:minutes``.
    """
    found, end = 0.0, 0
    while part := _PART.match(interval, end):
        end = part.end()
        hours, minutes, seconds, number, unit = part.groups()
        if unit is None:
            found += int(hours) / 24 + int(minutes) / 1440 + float(seconds or 0) / 86400
            continue
        length = next((one for name, one in _DAYS.items() if re.fullmatch(name, unit, re.I)), None)
        if length is None:
            end = 0
            break
        found += float(number) * length
    if end == 0 or interval[end:].strip():
        raise ArgumentError(
            f'interval "{interval}": expected numbers with units; write it like "30 days" or '
            '"1 day 12 hours"'
        )
    return found
