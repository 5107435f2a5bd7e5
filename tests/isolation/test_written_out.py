"""What a tenant stores can be written out: it makes no dump of the database fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import APP, take_role
from ddl.sql import ident, literal
from models.shared.constraints import MAX_TEXT
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.dumps import dump
from tests.support.engines import engine_of
from tests.support.time_series import RAW_SQL, migrate
from tests.support.two_tenants import TWO, fill

REFUSED = re.compile(r"_written_out\"|_readable\"|check option for view|has a large")

FINE = "jsonb_build_object('a', 1.5e300)"
BEYOND = "jsonb_build_object('a', '1e131071'::jsonb)"

_CHECKS = """
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
                  pg_get_constraintdef(oid))
      FROM pg_constraint WHERE conname ~ '_(written_out|readable)$' AND contype = 'c'
"""
_COLUMNS = f"""
    SELECT c.relname AS relation, a.attname AS name, c.relkind = 'v' AS is_view,
           has_column_privilege('{APP}', c.oid, a.attnum, 'UPDATE') AS updated
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
       AND a.atttypid IN ('json'::regtype, 'jsonb'::regtype, 'jsonb[]'::regtype)
       AND a.attnum > 0 AND NOT a.attisdropped
       AND has_column_privilege('{APP}', c.oid, a.attnum, 'INSERT, UPDATE')
     ORDER BY 1, 2
"""
_GIVEN = f"""
    SELECT a.attname FROM pg_attribute a
     WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attgenerated = '' AND a.attidentity = ''
       AND has_column_privilege('{APP}', a.attrelid, a.attnum, 'INSERT')
"""


@pytest.fixture(scope="module", params=servers("embedded", "timescaledb"))
def shared(request: pytest.FixtureRequest, make_shared_database: MakeDatabase) -> Iterator[Engine]:
    """A row of a tenant in every table, of whose CHECKs only those are left that are meant here."""
    with engine_of(make_shared_database(named_server(request), like=migrate)) as engine:
        with engine.connect() as connection:
            checks = connection.exec_driver_sql(_CHECKS, execution_options=RAW_SQL).scalars().all()
        fill(engine)
        with engine.begin() as connection:
            for check in checks:
                connection.exec_driver_sql(check, execution_options=RAW_SQL)
        yield engine


@dataclass(frozen=True)
class Column:
    """A column of JSON that a tenant may write."""

    relation: str
    name: str
    is_view: bool
    updated: bool

    def store(self, connection: Connection, value: str) -> str | None:
        """What the server says when a tenant writes this; None: it takes it."""
        relation = f"public.{ident(self.relation)}"
        own = f"tenant_id = '{TWO}'"
        if self.updated:
            statement = f"UPDATE {relation} SET {ident(self.name)} = {value} WHERE {own}"
        else:
            row = f"SELECT to_jsonb(r) FROM {relation} r WHERE {own} LIMIT 1"
            if self.is_view:
                table = self.relation.removesuffix("_to_store")
                row = f"SELECT to_jsonb(r) FROM timeseries.{ident(table)} r WHERE {own} LIMIT 1"
            found = connection.exec_driver_sql(row).scalar_one()
            for one in {"ts", "checked_at"} & found.keys():
                found[one] = "now"
            given = connection.exec_driver_sql(_GIVEN, (relation,)).scalars().all()
            values = ", ".join(value if one == self.name else f"r.{ident(one)}" for one in given)
            statement = (
                f"INSERT INTO {relation} ({', '.join(map(ident, given))}) SELECT {values}"
                f" FROM jsonb_populate_record(NULL::{relation}, {literal(json.dumps(found))}) r"
            )
        attempt = connection.begin_nested()
        take_role(connection, APP, TWO)
        try:
            done = connection.exec_driver_sql(statement, execution_options=RAW_SQL).rowcount
            assert done == 1, statement
            return None
        except DBAPIError as error:
            return str(error.orig)
        finally:
            attempt.rollback()


def columns(connection: Connection) -> list[Column]:
    """All of them, by the catalog."""
    return [Column(*row) for row in connection.exec_driver_sql(_COLUMNS, execution_options=RAW_SQL)]


def test_no_column_of_json_takes_what_cannot_be_written_out(shared: Engine) -> None:
    wrong = []
    with shared.connect() as connection:
        found = columns(connection)
        for column in found:
            # A key that is there already is looked for after all that is meant here.
            if (said := column.store(connection, FINE)) and "duplicate key" not in said:
                wrong.append((column, "a number that is fine", said))
            said = column.store(connection, BEYOND)
            if said is None or not REFUSED.search(said):
                wrong.append((column, "a number of 131,072 digits", said))
    assert len(found) > 50
    assert wrong == [], "\n".join(map(str, wrong))


def test_then_a_dump_is_made(shared: Engine) -> None:
    """With as much text as a row may have in several columns of JSON."""
    both = "UPDATE device_templates SET metadata = {0}, transport_defaults = {0}"
    text = f"jsonb_build_object('a', repeat('x', {MAX_TEXT} - {{}}))"
    with shared.begin() as connection:
        connection.exec_driver_sql(both.format(text.format(20)))
        with pytest.raises(DBAPIError, match="_written_out"), connection.begin_nested():
            connection.exec_driver_sql(both.format(text.format(0)))
    dump(shared.url.render_as_string(hide_password=False))
