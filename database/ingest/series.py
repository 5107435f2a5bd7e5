"""The series that can be delivered, each described once: table, columns, key, what it refers to."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from database.ingest.metrics import WRITERS, escaped
from database.ingest.records import (
    ConnectionEvent,
    DeviceHealth,
    EndpointCheck,
    Record,
    ServiceMetric,
    TagSample,
)
from database.ingest.values import is_text, uuid_text
from database.ingest.writers import (
    NULL,
    Write,
    any_number,
    connection_event,
    full_name,
    json_object,
    not_negative,
    status_code,
    tag_value,
    text_of,
)
from ddl import Declared, sql
from ddl.kinds.retention_policy import RetentionPolicyState
from models.monitoring.check_history import ENDPOINT, HealthCheck
from models.shared.base import TIMESERIES, Base
from models.shared.constraints import MAX_NAME
from models.shared.ingest_views import Correction
from models.shared.judgement import MAX_DOCUMENT, Registered, fields, longest, refusals
from models.shared.time_series_checks import days
from models.system.service_metrics import SystemMetric
from models.telemetry.device_connections import EVENTS, DeviceConnectionEvent
from models.telemetry.device_health import DeviceHealthTelemetry
from models.telemetry.device_messages import Telemetry
from models.telemetry.metrics import METRICS
from models.telemetry.registered import CONNECTION, DEVICE, TAG
from models.telemetry.tag_values import CORRECTION, TagValue

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_SHORT = {"timestamp with time zone": "timestamptz"}


@dataclass(frozen=True)
class Field:
    """A value of a record, and the columns that it fills."""

    name: str
    columns: tuple[str, ...]
    write: Write
    wanted: str
    """What is expected of it."""
    nothing: str | None = None
    """What COPY takes for None; None: it is refused, or written like other values."""


@dataclass(frozen=True)
class Reference:
    """What a record names, and its tenant must have registered."""

    registered: Registered
    """Where. Its column is the record's field, too; what it brings stands for the next
    reference, if a record has none."""
    kind: str
    wanted: str
    known: str
    """What is expected of it: in itself, and to be known."""

    @cached_property
    def look_up(self) -> str:
        """The query; its parameters are the pairs of tenant (``owners``) and name (``named``)."""
        rows = self.registered
        brought = f"r.{rows.brings}::text" if rows.brings else "NULL"
        return (
            f"SELECT r.tenant_id::text, r.{rows.found_by}::text, {brought}\n"
            f"  FROM unnest(%(owners)s::text[]::uuid[], %(named)s::text[]::{self.kind}[])\n"
            f"       AS asked (tenant_id, named)\n"
            f"  JOIN public.{rows.table} r\n"
            f"       ON r.tenant_id = asked.tenant_id AND r.{rows.found_by} = asked.named\n"
            f" WHERE {rows.only or 'true'}"
        )

    @property
    def name(self) -> str:
        """Of the record's field, and the column that it fills."""
        return self.registered.column

    @property
    def unknown(self) -> str:
        """The reason of a record that names what is not registered."""
        return self.registered.unknown

    def written(self, name: str) -> str:
        """The name as COPY takes it."""
        return escaped(name) if self.kind == "text" else name

    def name_of(self, value: object) -> str | None:
        """The value as the look-up names it; None if it cannot be one."""
        if self.kind == "uuid":
            return uuid_text(value)
        if self.kind == "text":
            return str(value) if is_text(value, MAX_NAME) else None
        return WRITERS[self.kind](value) if value.__class__ is int else None


@dataclass(frozen=True)
class Series:
    """One hypertable, and how records get into it."""

    table: Table
    time: str
    columns: Mapping[str, str]
    """What is copied, in this order, with types."""
    key: tuple[str, ...]
    """The columns that make a record a repetition of another."""
    max_age: datetime.timedelta
    """Its retention: what is older would be dropped at once."""
    sent: tuple[str, ...]
    """The fields of a record, which are kept if it is rejected."""
    tenants: bool = True
    references: tuple[Reference, ...] = ()
    fields: tuple[Field, ...] = field(default=(), repr=False)
    presence: Callable[[Record], str | None] | None = None
    """What a record says of its device: ``online``, ``offline``, or None, that it was seen."""
    corrected_by: Correction | None = None
    """How a later record corrects an earlier one with its key; the function returns how many it
    corrected."""
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Constraint to the reason against records that it refuses."""
    binary: bool = False
    """Whether COPY takes its rows in the binary format."""

    def oldest(self, now: datetime.datetime, days: int | None) -> datetime.datetime:
        """What is older is not taken; ``days`` is the retention of a tenant, if it has its own."""
        own = self.max_age if days is None else datetime.timedelta(days=days)
        return now - min(self.max_age, own)

    @property
    def name(self) -> str:
        """That of its table."""
        return self.table.name

    @cached_property
    def key_places(self) -> tuple[int, ...]:
        """Where among the values of a record those of the key are."""
        first = list(self.columns)[: len(self.columns) - sum(len(f.columns) for f in self.fields)]
        names = [*first, *(one.name for one in self.fields)]
        return tuple(names.index(name) for name in self.key)

    @cached_property
    def copy(self) -> str:
        """The fast way in: rows that are all new."""
        return f"COPY {TIMESERIES}.{sql.ident(self.name)} ({self._names}) {self._from}"

    @cached_property
    def stage(self) -> str:
        """A temporary table for rows of which some may be there already."""
        columns = ", ".join(f"{sql.ident(name)} {kind}" for name, kind in self.columns.items())
        return f"CREATE TEMPORARY TABLE {self._staging} ({columns}) ON COMMIT DROP"

    @cached_property
    def copy_to_stage(self) -> str:
        """COPY into it."""
        return f"COPY pg_temp.{self._staging} ({self._names}) {self._from}"

    @cached_property
    def merge(self) -> str:
        """From there into the series, what is new.

        Without a conflict target, which would need SELECT. In the order of the key, so that two
        deliveries of the same rows wait for each other instead of deadlocking.
        """
        return (
            f"INSERT INTO {TIMESERIES}.{sql.ident(self.name)} ({self._names})\n"
            f"SELECT {self._names} FROM pg_temp.{self._staging}\n"
            f" ORDER BY {', '.join(map(sql.ident, self.key))}\n"
            "ON CONFLICT DO NOTHING"
        )

    @cached_property
    def correct(self) -> str | None:
        """The values of what is there already, after `merge`; answered by their number."""
        if self.corrected_by is None:
            return None
        how = self.corrected_by
        arrays = ", ".join(f"array_agg({sql.ident(name)})" for name in how.columns)
        return f"SELECT public.{how.function}({arrays}) FROM pg_temp.{self._staging}"

    @cached_property
    def unstage(self) -> str:
        """The end of the temporary table."""
        return f"DROP TABLE pg_temp.{self._staging}"

    @property
    def _from(self) -> str:
        return "FROM STDIN (FORMAT binary)" if self.binary else "FROM STDIN"

    @property
    def _names(self) -> str:
        return ", ".join(map(sql.ident, self.columns))

    @property
    def _staging(self) -> str:
        return sql.ident(f"{self.name}_staging")


def retention(table: Table) -> datetime.timedelta:
    """How long rows of a hypertable are kept, according to its model."""
    policy = Declared.on(Base.metadata).of(RetentionPolicyState)[(TIMESERIES, table.name)]
    return datetime.timedelta(days=days(policy.drop_after))


def column_types(table: Table, names: Sequence[str]) -> dict[str, str]:
    """Columns with their types, as the server spells them."""
    types = {name: table.columns[name].type.compile(_DIALECT).lower() for name in names}
    return {name: _SHORT.get(kind, kind) for name, kind in types.items()}


def _series(
    model: type[Base],
    record: type[Record],
    *references: Reference,
    writes: Mapping[str, tuple[Write, str]] | None = None,
    key: Sequence[str] | None = None,
    presence: Callable[[Record], str | None] | None = None,
    corrected_by: Correction | None = None,
) -> Series:
    """A series whose columns, types, key and retention are those of its model.

    Args:
        writes: fields that are written otherwise than their type says, and what is expected there.
        key: the columns of the key; unless given those of the primary key.
    """
    table: Table = model.__table__  # type: ignore[assignment]
    tenants = "tenant_id" in table.columns
    time = getattr(model, "__time_column__", "ts")
    first = [*(["tenant_id"] if tenants else []), *(one.name for one in references), time]
    declared = getattr(model, "__expected__", ())
    taken = []
    for name, what in fields(table, time, declared, first).items():
        if name not in record.__slots__:
            continue
        columns = what.columns or (name,)
        column = table.columns[columns[0]]
        write, wanted = (writes or {}).get(name) or _by_type(column, longest(column, what))
        nothing = "\t".join([NULL] * len(columns)) if column.nullable else None
        taken.append(Field(name, columns, write, wanted, nothing))
    names = [*first, *(column for one in taken for column in one.columns)]
    return Series(
        table,
        time,
        column_types(table, names),
        tuple(key or (one.name for one in table.primary_key.columns)),
        retention(table),
        record.__slots__,
        tenants,
        references,
        tuple(taken),
        presence,
        corrected_by,
        refusals(table, time, declared),
    )


def _by_type(column: Column[object], longest: int) -> tuple[Write, str]:
    """How values of a column are written, and what is expected of them."""
    kind = column_types(column.table, [column.name])[column.name]
    if kind == "jsonb":
        return json_object, "a dict that JSON and jsonb have"
    if kind == "text":
        return text_of(longest), f"text of at most {longest:,} characters"
    write = any_number if kind == "double precision" else WRITERS[kind]
    wanted = {
        "double precision": "a number",
        "bigint": "an integer of 64 bits",
        "integer": "an integer of 32 bits",
        "boolean": "True or False",
    }[kind]
    return write, wanted


_MESSAGES: Table = Telemetry.__table__  # type: ignore[assignment]
_DEVICE = Reference(
    DEVICE,
    "text",
    f"text of 1 to {MAX_NAME} characters",
    "a registered device that is not suspended or revoked",
)
_TAG = Reference(TAG, "bigint", "an integer of 64 bits", "a tag")
_CONNECTION = Reference(CONNECTION, "uuid", "a UUID", "a data source")
_ENDPOINT = Reference(ENDPOINT, "uuid", "a UUID", "an endpoint")


_SENT = ("tenant_id", "device_id", "ts", "msg_type", "seq", "site_id", "metrics")
TELEMETRY = Series(
    _MESSAGES,
    "ts",
    column_types(
        _MESSAGES,
        [*_SENT, *(metric.name for metric in METRICS)],
    ),
    tuple(one.name for one in _MESSAGES.primary_key.columns),
    retention(_MESSAGES),
    _SENT,
    refusals=refusals(_MESSAGES, "ts", Telemetry.__expected__),
    binary=True,
)
"""Messages, which have an encoder of their own."""
TAGS = _series(
    TagValue,
    TagSample,
    _TAG,
    _CONNECTION,
    writes={
        "value": (
            tag_value,
            f"a number, text, truth value or JSON of at most {MAX_DOCUMENT:,} characters",
        ),
        "quality": (status_code, "an integer of 32 bits"),
    },
    corrected_by=CORRECTION,
)
HEALTH = _series(DeviceHealthTelemetry, DeviceHealth, _DEVICE, presence=lambda _: None)
CONNECTIONS = _series(
    DeviceConnectionEvent,
    ConnectionEvent,
    _DEVICE,
    writes={"event": (connection_event, f"one of {', '.join(EVENTS)}")},
    presence=lambda one: "online" if one.event == "connected" else "offline",  # type: ignore[attr-defined]
)
CHECKS = _series(
    HealthCheck,
    EndpointCheck,
    _ENDPOINT,
    writes={"response_ms": (not_negative, "a number that is not negative")},
)
SERVICE_METRICS = _series(
    SystemMetric,
    ServiceMetric,
    writes={"metric_name": (full_name, f"text of 1 to {MAX_NAME} characters")},
    # In the table a hash of the labels stands for them.
    key=("metric_name", "service", "labels", "ts"),
)
SERIES: dict[type, Series] = {
    TagSample: TAGS,
    DeviceHealth: HEALTH,
    ConnectionEvent: CONNECTIONS,
    EndpointCheck: CHECKS,
    ServiceMetric: SERVICE_METRICS,
}
"""By what is delivered; in the order in which they are stored."""
