"""No rows of a tenant keep a chunk, with the rows of all, out of the columnstore."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_transaction
from models.shared.constraints import MAX_ROW
from models.shared.ingest_views import MAX_PAYLOAD
from tests.database.ingest.conftest import with_devices
from tests.support.databases import LONG, MakeDatabase, named_server, servers
from tests.support.engines import engine_of
from tests.support.telemetry import ONE
from tests.support.time_series import RAW_SQL, alone, scalar

STORE = """
    INSERT INTO {view} (tenant_id, ts, id, action, category, {column})
    SELECT current_tenant(), now(), uuid7(), 'a', 'b', {value} FROM generate_series(1, {rows}) AS i
"""
OVER = {
    "message": f"repeat('x', {MAX_ROW})",
    "details": f"jsonb_build_object('a', repeat('x', {MAX_ROW}))",
    "actor_name, message": f"repeat('x', {MAX_ROW // 2}), repeat('ö', {MAX_ROW // 4})",
    # What is stored elsewhere is compressed already.
    "entity_name": "(SELECT location FROM sites WHERE name = 'large')",
    "details, message": "(SELECT metadata FROM device_registry WHERE device_id = 'd1'), 'm'",
}
LARGE = (
    f"INSERT INTO sites (tenant_id, name, location) VALUES"
    f" (current_tenant(), 'large', repeat('x', {MAX_ROW} + 1));"
    f"UPDATE device_registry SET metadata = jsonb_build_object('a', repeat('x', {MAX_ROW}))"
    " WHERE device_id = 'd1'"
)


@pytest.fixture(params=servers("embedded", "timescaledb"))
def engine(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """A tenant, on both kinds of servers."""
    with engine_of(make_database(named_server(request), like=with_devices)) as engine:
        yield engine


def test_large_rows_are_refused(engine: Engine) -> None:
    with tenant_transaction(engine, ONE) as connection:
        connection.exec_driver_sql(LARGE)
    for view in ("audit_events", "audit_events_to_store"):
        for column, value in OVER.items():
            store = STORE.format(view=view, column=column, value=value, rows=1)
            with (
                pytest.raises(
                    DBAPIError, match=r'for view "audit_events_to_store"|details_written_out'
                ),
                tenant_transaction(engine, ONE) as connection,
            ):
                connection.exec_driver_sql(store)
        store = STORE.format(
            view=view, column="message", value=f"repeat('x', {MAX_ROW // 2})", rows=1
        )
        with tenant_transaction(engine, ONE) as connection:
            connection.exec_driver_sql(store)
    assert scalar(engine, "SELECT count(*) FROM timeseries.audit_events") == 2


UNBOUNDED = """
    SELECT c.relname || '.' || a.attname
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'public'::regnamespace AND c.relname LIKE '%\\_to\\_store'
       AND a.atttypid IN ('text'::regtype, 'jsonb'::regtype, 'bytea'::regtype)
       AND pg_get_viewdef(c.oid)
           !~ format('(octet_length|pg_column_size)\\(\\(?(\\w+\\.)?%s\\M', a.attname)
       AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
                        WHERE i.indisprimary AND t.relname || '_to_store' = c.relname
                          AND t.relnamespace = 'timeseries'::regnamespace
                          AND a.attname IN (SELECT k.attname FROM pg_attribute k
                                             WHERE k.attrelid = i.indexrelid))
"""


def test_no_column_of_any_length_is_left_out(engine: Engine) -> None:
    """But those of a key, which have bounds of their own."""
    with engine.connect() as connection:
        assert connection.exec_driver_sql(UNBOUNDED, execution_options=RAW_SQL).all() == []
        bounded = UNBOUNDED.replace("!~", "~")
        assert len(connection.exec_driver_sql(bounded, execution_options=RAW_SQL).all()) > 20


def test_nor_do_payloads_in_quarantine(engine: Engine) -> None:
    """Of all documents of this size an array of digits is the largest as jsonb."""
    digits = "SELECT pg_column_size(('[1' || repeat(',1', {} / 2 - 2) || ']')::jsonb)"
    size = scalar(engine, digits.format(MAX_PAYLOAD))
    assert 1000 * (size + MAX_PAYLOAD) < 2**30


@pytest.mark.timescaledb
@pytest.mark.skipif(not LONG, reason="the long form: it compresses half a gigabyte")
def test_a_thousand_of_the_largest_rows_are_compressed(
    timescaledb_server: object, make_database: MakeDatabase
) -> None:
    with engine_of(make_database(timescaledb_server, like=with_devices)) as engine:
        value = f"rpad(i::text, {MAX_ROW - 200}, 'x')"
        store = STORE.format(view="audit_events", column="message", value=value, rows=1000)
        with tenant_transaction(engine, ONE) as connection:
            connection.execute(sa.text(store))
        alone(engine, "SELECT compress_chunk(c) FROM show_chunks('timeseries.audit_events') c")
