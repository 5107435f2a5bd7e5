"""Rows that a login of fleet_ingest writes with SQL of its own are judged as those of ingest()."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, NullPool

from database.engine import make_engine
from database.ingest import Ingested, ingest
from database.ingest.series import SERIES, TELEMETRY
from models.shared.base import PLATFORM_TENANT_ID
from models.shared.ingest_views import MAX_PAYLOAD
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.telemetry import CONNECTION, ENDPOINT, GONE, NOW, ONE, SITE, TWO, message, rows

DAY = datetime.timedelta(days=1)
NOBODY = "00000000-0000-0000-0000-0000000000ff"
COPY = "COPY ingest.telemetry (tenant_id, ts, device_id, metrics) FROM STDIN"
NAMES = [one.name for one in (TELEMETRY, *SERIES.values())]

ROWS: dict[str, dict[str, Any]] = {
    "telemetry": {"tenant_id": ONE, "device_id": "d1", "metrics": '{"flow": 3}', "ts": NOW},
    "tag_values": {"tenant_id": ONE, "tag_id": 7, "v_num": 1.5, "ts": NOW},
    "device_health_telemetry": {"tenant_id": ONE, "device_id": "d1", "rssi": -70, "ts": NOW},
    "device_connection_events": {
        "tenant_id": ONE,
        "device_id": "d1",
        "event": "connected",
        "ts": NOW,
    },
    "health_checks": {"tenant_id": ONE, "endpoint_id": ENDPOINT, "ok": True, "checked_at": NOW},
    "system_metrics": {"metric_name": "queue", "value": 7, "ts": NOW},
}
"""A row of each series that is stored."""

UNKNOWN = {
    "telemetry": ("device_id", "nobody", "unknown_device"),
    "tag_values": ("tag_id", 9, "unknown_tag"),
    "device_health_telemetry": ("device_id", "nobody", "unknown_device"),
    "device_connection_events": ("device_id", "nobody", "unknown_device"),
    "health_checks": ("endpoint_id", TWO, "unknown_endpoint"),
}


def insert(own: Engine, series: str, **changed: Any) -> int:
    """Write the row of a series with changes; returns what the server says was stored."""
    row = {**ROWS[series], **changed}
    with own.begin() as connection:
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        statement = f"INSERT INTO ingest.{series} ({names}) VALUES ({places})"
        return connection.exec_driver_sql(statement, tuple(row.values())).rowcount


@pytest.fixture
def own(engine: Engine, login: Callable[..., sa.URL]) -> Iterator[Engine]:
    made = make_engine(login("fleet_ingest"), poolclass=NullPool)
    yield made
    made.dispose()


@pytest.fixture(params=["postgresql", "timescaledb"])
def either(
    request: pytest.FixtureRequest, make_database: MakeDatabase
) -> Iterator[tuple[Engine, Engine]]:
    """The owner, and what acts as fleet_ingest, on both servers."""
    from tests.database.ingest.conftest import with_devices

    if request.param == "timescaledb":
        server: DatabaseServer = request.getfixturevalue("timescaledb_server")
        url = make_database(server, like=with_devices)
    else:
        url = make_database(like=with_devices)
    with engine_of(url) as engine:
        acting = make_engine(url, poolclass=NullPool)
        sa.event.listen(acting, "begin", lambda c: c.exec_driver_sql("SET LOCAL ROLE fleet_ingest"))
        yield engine, acting


def time_of(series: str) -> str:
    return "checked_at" if series == "health_checks" else "ts"


def test_there_is_a_view_for_every_series_that_is_delivered() -> None:
    assert sorted(NAMES) == sorted(ROWS)


@pytest.mark.parametrize("series", NAMES)
def test_rows_are_stored_once_or_kept_with_the_reason(
    either: tuple[Engine, Engine], series: str
) -> None:
    engine, own = either
    time = time_of(series)
    assert insert(own, series) == 1
    assert insert(own, series) == 0, "a repetition changes nothing"
    late = {time: NOW - 5 * DAY}
    assert insert(own, series, **late) == 1
    wrong: list[tuple[dict[str, Any], str]] = [
        ({time: NOW + 2 * DAY}, "future_ts"),
        ({time: "infinity"}, "bad_ts"),
        ({time: NOW - 401 * DAY}, "expired_ts"),
        ({time: "-infinity"}, "bad_ts"),
    ]
    if series in UNKNOWN:
        column, value, reason = UNKNOWN[series]
        others = {"device_id": "other"} if column == "device_id" else {"tenant_id": TWO}
        wrong += [({column: value}, reason), (others, reason)]
        wrong += [({"tenant_id": tenant}, "unknown_tenant") for tenant in (GONE, NOBODY)]
    for changed, _ in wrong:
        for _ in range(2):
            assert insert(own, series, **changed) == 0
    found = rows(
        engine,
        "SELECT reason, tenant_id, payload, event_ts FROM timeseries.quarantine_events"
        " ORDER BY reason",
    )
    assert sorted(one.reason for one in found) == sorted(reason for _, reason in wrong)
    for one in found:
        known = series in UNKNOWN and one.reason != "unknown_tenant"
        assert (one.tenant_id == PLATFORM_TENANT_ID) is not known
        assert time in one.payload
    assert rows(engine, f"SELECT count(*) FROM timeseries.{series}")[0][0] == 2


def test_a_metric_without_a_name_goes_to_quarantine_by_both_ways(
    either: tuple[Engine, Engine],
) -> None:
    engine, own = either
    metrics = {"flow": 3, "": 1}
    assert insert(own, "telemetry", metrics=json.dumps(metrics)) == 0
    assert ingest(engine, [message(1, metrics=metrics), message(2)]) == Ingested(1, 0, 1)
    found = rows(engine, "SELECT reason, payload -> 'metrics' FROM timeseries.quarantine_events")
    assert [tuple(one) for one in found] == [("bad_metrics", metrics)] * 2


def test_the_tenants_own_retention_counts(either: tuple[Engine, Engine]) -> None:
    engine, own = either
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
        connection.exec_driver_sql(
            "INSERT INTO data_retention_policies (tenant_id, relation, retention_days)"
            " VALUES (%s, 'telemetry', 30)",
            (ONE,),
        )
    old = NOW - 31 * DAY
    assert insert(own, "telemetry", ts=old) == 0
    assert insert(own, "telemetry", ts=old, tenant_id=TWO) == 1
    found = rows(engine, "SELECT reason, tenant_id FROM timeseries.quarantine_events")
    assert [tuple(one) for one in found] == [("expired_ts", ONE)]


def test_what_a_row_leaves_out_is_filled_in(either: tuple[Engine, Engine]) -> None:
    engine, own = either
    insert(own, "telemetry")
    insert(own, "tag_values")
    assert rows(engine, "SELECT site_id, msg_type, seq, metrics FROM timeseries.telemetry") == [
        (SITE, "telemetry", 0, {"flow": 3})
    ]
    assert rows(engine, "SELECT connection_id FROM timeseries.tag_values") == [(CONNECTION,)]


def test_a_later_sample_corrects_the_earlier_one(either: tuple[Engine, Engine]) -> None:
    engine, own = either
    assert insert(own, "tag_values") == 1
    assert insert(own, "tag_values", v_num=2.5) == 1
    assert insert(own, "tag_values", v_num=2.5) == 0
    assert rows(engine, "SELECT v_num FROM timeseries.tag_values") == [(2.5,)]


def test_what_no_column_holds_is_an_error(own: Engine) -> None:
    for changed in ({"ts": "yesterday-ish"}, {"metrics": "{"}, {"tenant_id": "acme"}):
        with pytest.raises(sa.exc.DataError, match="invalid"):
            insert(own, "telemetry", **changed)


def test_a_row_that_is_too_long_for_quarantine_is_kept_in_part(
    either: tuple[Engine, Engine],
) -> None:
    engine, own = either
    assert insert(own, "telemetry", device_id="é" * 600_000) == 0
    (found,) = rows(engine, "SELECT * FROM timeseries.quarantine_events")
    assert (found.reason, found.payload) == ("bad_device_id", None)
    assert len(found.payload_raw) == MAX_PAYLOAD
    assert len(found.device_id) == 1000
    assert "(SHA-256 " in found.detail


def test_numbers_that_are_no_double_go_to_quarantine_by_their_hash(
    either: tuple[Engine, Engine],
) -> None:
    """Of few bytes the server would write 131,072 digits each."""
    engine, own = either
    series = {"telemetry": "metrics", "device_health_telemetry": "extra", "tag_values": "v_json"}
    with own.begin() as connection:
        for one, column in series.items():
            row = {**ROWS[one], column: "{}"} | ({"v_num": None} if one == "tag_values" else {})
            places = ["%s"] * len(row)
            places[list(row).index(column)] = (
                "%s || jsonb_build_object('a', ARRAY['1e131071'::jsonb, '-1e131071'])"
            )
            insert = f"INSERT INTO ingest.{one} ({', '.join(row)}) VALUES ({', '.join(places)})"
            assert connection.exec_driver_sql(insert, tuple(row.values())).rowcount == 0
    found = rows(engine, "SELECT reason, payload::text FROM timeseries.quarantine_events")
    assert sorted(one.reason for one in found) == ["bad_extra", "bad_metrics", "bad_value"]
    assert all("number beyond double precision, hash " in one.payload for one in found)


@pytest.mark.parametrize("series", NAMES)
def test_row_security_may_be_off(either: tuple[Engine, Engine], series: str) -> None:
    """As pg_dump and pg_restore switch it off, and with it what policies show."""
    engine, own = either
    changed = {} if series == "system_metrics" else {"tenant_id": NOBODY}
    with own.begin() as connection:
        connection.exec_driver_sql("SET row_security = off")
        for row in (ROWS[series], {**ROWS[series], **changed, time_of(series): NOW + 2 * DAY}):
            names, places = ", ".join(row), ", ".join(["%s"] * len(row))
            statement = f"INSERT INTO ingest.{series} ({names}) VALUES ({places})"
            connection.exec_driver_sql(statement, tuple(row.values()))
    assert rows(engine, f"SELECT count(*) FROM timeseries.{series}")[0][0] == 1
    found = rows(engine, "SELECT reason FROM timeseries.quarantine_events")
    assert [one.reason for one in found] == ["unknown_tenant" if changed else "future_ts"]


def test_row_security_may_be_off_for_batches(own: Engine) -> None:
    sa.event.listen(own, "begin", lambda c: c.exec_driver_sql("SET row_security = off"))
    assert ingest(own, [message(1), message(2, device_id="nobody")]) == Ingested(1, 0, 1)


def test_copy_is_judged_row_by_row(own: Engine, engine: Engine) -> None:
    with own.begin() as connection:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(COPY) as copy:
            for device in ("d1", "nobody", "d2"):
                copy.write_row((ONE, NOW, device, json.dumps({"device": device})))
    found = rows(engine, "SELECT device_id FROM timeseries.telemetry ORDER BY 1")
    assert [one.device_id for one in found] == ["d1", "d2"]
    assert rows(engine, "SELECT payload -> 'metrics' FROM timeseries.quarantine_events") == [
        ({"device": "nobody"},)
    ]


@pytest.mark.parametrize("series", NAMES)
def test_the_table_itself_takes_no_row_that_is_not_judged(
    either: tuple[Engine, Engine], series: str
) -> None:
    engine, own = either
    names, places = ", ".join(ROWS[series]), ", ".join(["%s"] * len(ROWS[series]))
    statement = f"INSERT INTO timeseries.{series} ({names}) VALUES ({places})"
    with own.begin() as connection, pytest.raises(sa.exc.ProgrammingError) as refused:
        connection.exec_driver_sql(statement, tuple(ROWS[series].values()))
    assert f"fleet_ingest cannot insert into timeseries.{series} directly" in str(refused.value)
    assert f"Insert into ingest.{series}, which judges each row" in str(refused.value)
    # The owner restores and imports.
    row = {"connection_id": CONNECTION, **ROWS[series]} if series == "tag_values" else ROWS[series]
    names, places = ", ".join(row), ", ".join(["%s"] * len(row))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO timeseries.{series} ({names}) VALUES ({places})", tuple(row.values())
        )


def test_a_login_that_inherits_is_refused_too(own: Engine) -> None:
    with own.begin() as connection, pytest.raises(sa.exc.ProgrammingError, match="cannot insert"):
        connection.exec_driver_sql(
            "INSERT INTO timeseries.telemetry (tenant_id, ts, device_id) VALUES (%s, now(), 'd1')",
            (ONE,),
        )


def test_what_is_judged_ends_with_the_row_and_with_the_batch(own: Engine) -> None:
    assert ingest(own, [message(1)]) == Ingested(1, 0, 0)
    with own.begin() as connection:
        run = connection.exec_driver_sql
        run(
            "INSERT INTO ingest.telemetry (tenant_id, ts, device_id) VALUES (%s, now(), 'd1')",
            (ONE,),
        )
        assert run("SELECT current_setting('fleetschema.judged', true)").scalar_one() != "on"


def test_nothing_is_read_through_the_views(own: Engine) -> None:
    for series in NAMES:
        for statement in ("SELECT * FROM", "DELETE FROM"):
            with own.begin() as connection, pytest.raises(sa.exc.ProgrammingError, match="denied"):
                connection.exec_driver_sql(f"{statement} ingest.{series}")
