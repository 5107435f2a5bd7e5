"""How a correction changes the values of a series: expressions in SQL over a row."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from database.errors import FleetSchemaError
from database.ingest.metrics import EXACT
from database.ingest.series import TAGS as SERIES_OF_TAGS
from database.ingest.writers import NULL
from ddl.sql import escaped, ident
from models.shared.base import TIMESERIES, Base
from models.shared.metrics import fitting
from models.telemetry.metrics import METRICS

MESSAGES, TAGS = "telemetry", "tag_values"
_NUMBERS = {"DOUBLE PRECISION", "BIGINT", "INTEGER"}
_MEASURABLE = "BETWEEN -1e300 AND 1e300"  # neither NaN nor infinity, and no overflow


class CorrectionError(FleetSchemaError):
    """There is no such correction; the text says what to write instead."""


@dataclass(frozen=True)
class Correction:
    """Each value becomes ``scale`` times itself plus ``offset``, or else ``value``.

    Attributes:
        metric: of messages, or a column of another series; None: the value of a tag.
        value: JSON text, if all are to be the same; ``null`` takes them away.
    """

    metric: str | None = None
    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)
    value: str | None = None

    def __post_init__(self) -> None:
        """Reject what would change nothing, or is no value."""
        scaled = self.scale != 1 or self.offset != 0
        if self.value is None:
            if not self.scale.is_finite() or not self.offset.is_finite():
                raise CorrectionError("expected finite numbers for --scale and --offset")
            if not scaled:
                raise CorrectionError("expected --set, or --scale and --offset: nothing to correct")
            return
        if scaled:
            raise CorrectionError("expected either --set, or --scale and --offset, found both")
        try:
            json.loads(self.value, parse_constant=_no_constant, parse_float=_finite)
        except ValueError:
            raise CorrectionError(
                f"--set: expected JSON, as in 21.5, true, '\"off\"' or null, found {self.value!r}"
            ) from None

    def __str__(self) -> str:
        what = self.metric or "value"
        if self.value is not None:
            return f"{what} set to {self.value}"
        return f"{what} times {self.scale} plus {self.offset}"

    @property
    def given(self) -> Any:
        """The value to set."""
        return json.loads(self.value) if self.value is not None else None


@dataclass(frozen=True)
class Change:
    """A correction of one series, in SQL."""

    old: str
    new: str
    """The value before and after, as jsonb."""
    assignments: str
    condition: str
    """Which rows have such a value."""
    parameters: dict[str, Any]

    @property
    def applies(self) -> str:
        """Which rows change; the order of evaluation matters, since ``new`` may be a cast."""
        changes = f"({self.old}) IS DISTINCT FROM ({self.new})"
        return f"CASE WHEN {self.condition} THEN {changes} ELSE false END"


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _finite(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(text)
    return float(text)


def change(series: str, correction: Correction) -> Change:
    """The SQL of a correction.

    Raises:
        CorrectionError: the series has no such values.
    """
    table = Base.metadata.tables[f"{TIMESERIES}.{series}"]
    if series == TAGS:
        if correction.metric is not None:
            raise CorrectionError("samples of tags have one value each: leave --metric out")
        return _of_tags(correction)
    if correction.metric is None:
        raise CorrectionError(f"expected --metric: {_metrics_of(table)}")
    if series == MESSAGES:
        return _of_messages(correction.metric, correction)
    return _of_column(table, correction.metric, correction)


def _scaled(number: str) -> str:
    """As numeric: a double would round integers beyond 2^53."""
    return f"trim_scale({number} * CAST(:scale AS numeric) + CAST(:offset AS numeric))"


def _exact_above(lowest: int, number: str) -> str:
    """As JSON: what is larger exactly, unless no reader could hold it, which is an error."""
    double = f"to_jsonb(CAST({number} AS double precision))"
    exact = f"abs({number}) > {lowest} AND abs({number}) {_MEASURABLE}"
    return f"CASE WHEN {exact} THEN to_jsonb({number}) ELSE {double} END"


def _factors(correction: Correction) -> dict[str, Any]:
    return {"scale": str(correction.scale), "offset": str(correction.offset)}


def _of_messages(metric: str, correction: Correction) -> Change:
    """Where the metric is declared, its column holds what fits, the JSON the rest."""
    declared = next((one for one in METRICS if one.name == metric), None)
    name = "CAST(:metric AS text)"
    old = f"metrics -> {name}"
    if declared is not None:
        old = f"coalesce(to_jsonb({ident(metric)}), {old})"
    parameters: dict[str, Any] = {"metric": metric}
    if correction.value is not None:
        new, condition = "CAST(:value AS jsonb)", f"{old} IS NOT NULL"
        parameters["value"] = correction.value
        if correction.given is None:
            new = "CAST(NULL AS jsonb)"
    else:
        number = f"CAST({old} AS numeric)"
        condition = (
            f"CASE WHEN jsonb_typeof({old}) = 'number' THEN {number} {_MEASURABLE} ELSE false END"
        )
        result = _scaled(number)
        lowest = EXACT if declared is not None and declared.type == "double precision" else 0
        new = _exact_above(lowest, result)
        parameters |= _factors(correction)
    pair = f"jsonb_build_object({name}, {new})"
    if declared is None:
        kept = f"metrics - {name}" if new.startswith("CAST(NULL") else f"metrics || {pair}"
        return Change(old, new, f"metrics = {kept}", condition, parameters)
    fit = fitting(declared, pair, "msg_type")
    assignments = (
        f"{ident(metric)} = {fit}, metrics = metrics - {name}"
        f" || CASE WHEN {new} IS NULL OR {fit} IS NOT NULL THEN '{{}}' ELSE {pair} END"
    )
    return Change(old, new, assignments, condition, parameters)


def _of_tags(correction: Correction) -> Change:
    """One of four columns has the value, the one that the ingest would fill."""
    old = "coalesce(to_jsonb(v_num), to_jsonb(v_text), to_jsonb(v_bool), v_json)"
    if correction.value is None:
        condition = f"""CASE WHEN v_num {_MEASURABLE} THEN true
            WHEN jsonb_typeof(v_json) = 'number' THEN CAST(v_json AS numeric) {_MEASURABLE}
            ELSE false END"""
        number = _scaled("coalesce(CAST(CAST(v_num AS text) AS numeric), CAST(v_json AS numeric))")
        double = f"CAST({number} AS double precision)"
        # What v_num would round, unless it was a number there that had been rounded before.
        in_json = f"""(abs({number}) > {EXACT} AND CASE WHEN v_num IS NULL THEN true
            WHEN abs(v_num) > {EXACT} THEN false
            ELSE CAST(CAST({double} AS text) AS numeric) <> {number} END)"""
        exact = _exact_above(EXACT, number)
        new = f"CASE WHEN {in_json} THEN {exact} ELSE to_jsonb({double}) END"
        assignments = (
            f"v_num = CASE WHEN NOT {in_json} THEN {double} END,"
            f" v_json = CASE WHEN {in_json} THEN {exact} END"
        )
        return Change(old, new, assignments, condition, _factors(correction))
    # In the column that the ingest would fill.
    field = next(one for one in SERIES_OF_TAGS.fields if one.name == "value")
    written = field.nothing if correction.given is None else field.write(correction.given)
    if written is None:
        raise CorrectionError(f"--set: expected {field.wanted}, found {correction.value}")
    filled = zip(field.columns, written.split("\t"), strict=True)
    given = "CAST(:value AS jsonb)"
    values = {
        "v_num": f"CAST({given} #>> '{{}}' AS double precision)",
        "v_text": f"{given} #>> '{{}}'",
        "v_bool": f"CAST({given} #>> '{{}}' AS boolean)",
        "v_json": given,
    }
    assignments = ", ".join(
        f"{name} = {'NULL' if text == NULL else values[name]}" for name, text in filled
    )
    parameters = {"value": correction.value}
    return Change(old, f"NULLIF({given}, 'null')", assignments, f"{old} IS NOT NULL", parameters)


def _of_column(table: Table, metric: str, correction: Correction) -> Change:
    types = _types(table)
    if metric not in types:
        raise CorrectionError(f"--metric: expected {_metrics_of(table)}, found {metric!r}")
    column, kind = escaped(ident(metric)), types[metric]
    old = f"to_jsonb({column})"
    if correction.value is None:
        if kind not in _NUMBERS:
            raise CorrectionError(f"{metric} of {table.name} is no number: write --set")
        number = f"CAST({_scaled(f'CAST(CAST({column} AS text) AS numeric)')} AS {kind})"
        return Change(
            old,
            f"to_jsonb({number})",
            f"{column} = {number}",
            f"CASE WHEN {column} {_MEASURABLE} THEN true ELSE false END",
            _factors(correction),
        )
    fits = {"BOOLEAN": bool, "TEXT": str}.get(kind, int if kind != "DOUBLE PRECISION" else float)
    given = correction.given
    if fits is float and type(given) is int:
        given = float(given)
    if given is None and not table.columns[metric].nullable:
        raise CorrectionError(f"--set: {metric} of {table.name} always has a value")
    if given is not None and type(given) is not fits:
        raise CorrectionError(
            f"--set: expected {kind.lower()} for {metric}, found {correction.value}"
        )
    new = f"CAST(CAST(:value AS jsonb) #>> '{{}}' AS {kind})"
    return Change(
        old,
        f"to_jsonb({new})",
        f"{column} = {new}",
        f"{column} IS NOT NULL",
        {"value": correction.value},
    )


def _types(table: Table) -> dict[str, str]:
    """The columns that can be corrected, with their types."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    found = {
        column.name: column.type.compile(dialect)
        for column in table.columns
        if not column.primary_key
    }
    return {name: kind for name, kind in found.items() if kind in (*_NUMBERS, "BOOLEAN", "TEXT")}


def _metrics_of(table: Table) -> str:
    if table.name == MESSAGES:
        return "the name of a metric"
    return f"one of {', '.join(_types(table))}"
