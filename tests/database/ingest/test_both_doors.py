"""Whatever rows are sent, `ingest()` and the view of the series do the same with them."""

from __future__ import annotations

import datetime
import inspect
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from database.ingest import (
    ConnectionEvent,
    DeviceHealth,
    EndpointCheck,
    Message,
    ServiceMetric,
    TagSample,
    ingest,
)
from database.ingest.series import SERIES, TELEMETRY
from tests.support.telemetry import (
    CONNECTION,
    ENDPOINT,
    FORMER,
    GONE,
    NOW,
    ONE,
    OTHERS_CONNECTION,
    SITE,
    TWO,
    empty,
    rows,
)

DAY = datetime.timedelta(days=1)
NAN, INFINITY = float("nan"), float("inf")

# The first value of each is good.
TENANT = (ONE, TWO, GONE, uuid.UUID(int=99), None)
DEVICE = ("d1", "d2", "nobody", "other", "", "ä" * 255, "d" * 256, None)
TIME = (
    NOW,
    NOW - DAY,
    NOW - 29 * DAY,
    NOW - 31 * DAY,
    NOW - 401 * DAY,
    NOW + 2 * DAY,
    "infinity",
    "-infinity",
    # In UTC the years 10000 and 0.
    datetime.datetime.max.replace(tzinfo=datetime.timezone(-DAY / 2)),
    datetime.datetime.min.replace(tzinfo=datetime.timezone(DAY / 2)),
    None,
)
DOCUMENT = (
    {"ä": ['"x": , {', None]},
    {},
    [],
    "x",
    7,
    None,
    {"a": "x" * 65_528},
    {"a": "x" * 65_529},
    {str(number): '": ' for number in range(5000)},
    {"a": list(range(14_000))},
)
TEXT = ("x", "", "é" * 65_536, "x" * 65_537, None)
NAME = ("x", "", "ä" * 255, "x" * 256, None)
NUMBER = (3.5, 0, -1, INFINITY, -INFINITY, NAN, None)
COUNT = (1, 0, -(2**31), None)
SEQ = (1, 0, -(2**63), 2**63 - 1, None)
TRUTH = (True, False, None)
VALUE: tuple[dict[str, Any], ...] = (
    {"v_num": 1.5},
    {},
    {"v_num": NAN},
    {"v_text": ""},
    {"v_text": "x" * 65_537},
    {"v_bool": False},
    {"v_json": [1, {"a": None}]},
    {"v_json": ["x" * 65_533]},
)
LEFT_OUT: Any = object()


@dataclass(frozen=True)
class Door:
    """The columns of a series, what is sent in them, and the record that says the same."""

    record: Callable[..., Any]
    columns: Mapping[str, Sequence[Any]]

    def rows(self) -> st.SearchStrategy[list[dict[str, Any]]]:
        """Some rows; what a record need not have is left out of some."""
        optional = {
            name
            for name, one in inspect.signature(self.record).parameters.items()
            if one.default is not one.empty
        }
        one = st.fixed_dictionaries(
            {
                # As often good as anything, or hardly a row would get as far as its last column.
                name: st.just(values[0])
                | st.sampled_from([*values, *([LEFT_OUT] if name in optional else [])])
                for name, values in self.columns.items()
            }
        )
        return st.lists(one.map(without_what_is_left_out), min_size=1, max_size=6)

    def faults(self) -> list[dict[str, Any]]:
        """For each value of each column a row whose other values are good."""
        good = {name: values[0] for name, values in self.columns.items()}
        return [{**good, name: value} for name, values in self.columns.items() for value in values]


def without_what_is_left_out(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not LEFT_OUT}


DOORS = {
    "telemetry": Door(
        Message,
        {
            "tenant_id": TENANT,
            "device_id": DEVICE,
            "ts": TIME,
            "metrics": DOCUMENT,
            "msg_type": ("x", "", "ä" * 100, "x" * 101, None),
            "seq": SEQ,
            "site_id": (SITE, TWO, None),
        },
    ),
    "tag_values": Door(
        TagSample,
        {
            "tenant_id": TENANT,
            "tag_id": (7, 8, 9, 17, -1, 2**63 - 1, None),
            "ts": TIME,
            "value": VALUE,
            "quality": COUNT,
            "connection_id": (CONNECTION, FORMER, OTHERS_CONNECTION, TWO, None),
        },
    ),
    "device_health_telemetry": Door(
        DeviceHealth,
        {
            "tenant_id": TENANT,
            "device_id": DEVICE,
            "ts": TIME,
            "rssi": COUNT,
            "network_type": TEXT,
            "battery_voltage": NUMBER,
            "charging": TRUTH,
            "uptime_seconds": SEQ,
            "extra": DOCUMENT,
        },
    ),
    "device_connection_events": Door(
        ConnectionEvent,
        {
            "tenant_id": TENANT,
            "device_id": DEVICE,
            "ts": TIME,
            "event": ("connected", "connection_lost", "lost", "", None),
            "seq": SEQ,
            "details": DOCUMENT,
        },
    ),
    "health_checks": Door(
        EndpointCheck,
        {
            "tenant_id": TENANT,
            "endpoint_id": (ENDPOINT, TWO, None),
            "checked_at": TIME,
            "ok": TRUTH,
            "status_code": COUNT,
            "response_ms": NUMBER,
            "dns_ms": NUMBER,
            "error": TEXT,
        },
    ),
    "system_metrics": Door(
        ServiceMetric,
        {"metric_name": NAME, "ts": TIME, "value": NUMBER, "service": NAME, "labels": DOCUMENT},
    ),
}


def deliver(engine: Engine, series: str, sent: Iterable[Mapping[str, Any]]) -> None:
    """Each row as a record, in batches of one: as single INSERTs they follow each other."""
    for row in sent:
        if "value" in row and isinstance(row["value"], dict):
            row = {**row, "value": next(iter(row["value"].values()), None)}
        done = ingest(engine, [DOORS[series].record(**row)])
        assert done.stored + done.duplicates + done.corrected + done.quarantined == 1


def insert(engine: Engine, series: str, sent: Iterable[Mapping[str, Any]]) -> None:
    """Each row with an INSERT of its own into the view."""
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_ingest")
        for row in sent:
            if "value" in row and isinstance(row["value"], dict):
                row = {name: value for name, value in row.items() if name != "value"} | row["value"]
            values = [json_of(name, value) for name, value in row.items()]
            names, places = ", ".join(row), ", ".join(["%s"] * len(row))
            statement = f"INSERT INTO ingest.{series} ({names}) VALUES ({places})"
            connection.exec_driver_sql(statement, tuple(values))


def json_of(column: str, value: object) -> object:
    documents = ("metrics", "extra", "details", "labels", "v_json")
    return json.dumps(value) if column in documents and value is not None else value


def found(engine: Engine, series: str) -> tuple[list[str], list[str]]:
    """What is stored, and what is in quarantine for which reason."""
    stored = f"SELECT (to_jsonb(t) - 'ingested_at')::text FROM timeseries.{series} t"
    kept = """
        SELECT (reason, tenant_id, ts, claimed_tenant, device_id, site_id, msg_type, event_ts)::text
          FROM timeseries.quarantine_events"""
    return tuple(sorted({one for (one,) in rows(engine, query)}) for query in (stored, kept))


def test_every_series_is_compared() -> None:
    assert sorted(DOORS) == sorted(one.name for one in (TELEMETRY, *SERIES.values()))


@pytest.mark.parametrize("series", DOORS)
def test_any_rows(shared: Engine, series: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(DOORS[series].rows())
    def compare(sent: list[dict[str, Any]]) -> None:
        empty(shared)
        deliver(shared, series, sent)
        delivered = found(shared, series)
        empty(shared)
        insert(shared, series, sent)
        assert found(shared, series) == delivered

    compare()


@pytest.mark.timescaledb
@pytest.mark.parametrize("series", DOORS)
def test_every_fault_alone(community: Engine, series: str) -> None:
    sent = DOORS[series].faults()
    deliver(community, series, sent)
    delivered = found(community, series)
    empty(community)
    insert(community, series, sent)
    assert found(community, series) == delivered
    reasons = {one.split(",")[0].strip("(") for one in delivered[1]}
    assert reasons == {"bad_ts", "future_ts", "expired_ts"} | REASONS[series]


OF_DEVICES = {"bad_tenant_id", "unknown_tenant", "bad_device_id", "unknown_device"}
REASONS = {
    "telemetry": OF_DEVICES | {"bad_msg_type", "bad_seq", "bad_metrics", "metrics_too_large"},
    "tag_values": {"bad_tenant_id", "unknown_tenant", "bad_tag_id", "unknown_tag", "bad_value"}
    | {"unknown_connection"},
    "device_health_telemetry": OF_DEVICES | {"bad_network_type", "bad_extra"},
    "device_connection_events": OF_DEVICES | {"bad_event", "bad_seq", "bad_details"},
    "health_checks": {"bad_tenant_id", "unknown_tenant", "bad_endpoint_id", "unknown_endpoint"}
    | {"bad_ok", "bad_response_ms", "bad_error"},
    "system_metrics": {"bad_metric_name", "bad_value", "bad_service", "bad_labels"},
}
