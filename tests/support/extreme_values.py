"""Values at the ends of each type, written by one tenant where workers of all tenants read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

import models
from database.tenancy import APP, OPERATOR, take_role
from ddl.sql import ident, literal
from tests.support.acme_and_globex import ACME, ANN, EVE, GLOBEX
from tests.support.databases import LONG
from tests.support.time_series import RAW_SQL

_LONG = "repeat('x', 1200000)"
_JSON = (
    # Written out 1,200 million digits, of which a client reads no number with more than 4,300.
    "(SELECT jsonb_build_object('a', jsonb_agg('1e131071'::jsonb)) FROM generate_series(1, 9200))",
    "'{\"a\": 1e5000}'::jsonb",
    "jsonb_build_object('a', (repeat('[', 3000) || repeat(']', 3000))::jsonb)",
    f"jsonb_build_object('a', {_LONG})",
)
_MOMENTS = ("'infinity'", "'-infinity'", "'4714-11-24 00:00+00 BC'", "'294276-12-31 00:00+00'")
EXTREMES: dict[str, tuple[str, ...]] = {
    "integer": ("-2147483648", "0", "1", "1500", "2147483647"),
    "bigint": ("'-9223372036854775808'", "0", "1", "9223372036854775807"),
    "double precision": ("'NaN'", "'Infinity'", "'-Infinity'", "1.7e308", "5e-324"),
    "numeric": ("'NaN'", "'Infinity'", "1e131000", "0"),
    "timestamp with time zone": _MOMENTS,
    "interval": ("'-178000000 years'", "'178000000 years'", "'0'"),
    "boolean": ("true", "false"),
    "text": ("''", "'<x>-167:59:59'", "'<x>167:59:59'", _LONG),
    "jsonb": _JSON,
    "text[]": ("'{}'", "'{NULL}'", "'{{a,b},{c,d}}'", f"ARRAY[{_LONG}]"),
    "integer[]": ("'{}'", "'{NULL}'", "'{{1,2},{3,4}}'"),
    "uuid": ("NULL",),
    "uuid[]": ("'{}'",),
}
"""Type to expressions in SQL."""
_COUNTED = ("integer", "bigint", "double precision")
_TOGETHER: dict[str, tuple[dict[str, str], ...]] = {
    "notification_jobs": (
        {"status": "'processing'", "worker": "'w'", "locked_until": "now() + interval '1 h'"},
    ),
}
"""What no single column says: a job that a worker holds without an attempt."""

# The same rows of both tenants: each function finds one, and one of them is due.
_ROWS = """
    INSERT INTO projects (tenant_id, id, name) VALUES ('{t}', '{id}', 'p');
    INSERT INTO notification_channels (tenant_id, id, name, channel_type)
      VALUES ('{t}', '{id}', 'c', 'http');
    INSERT INTO notification_routing_rules (tenant_id, id, channel_id, deliver_on)
      VALUES ('{t}', '{id}', '{id}', '{{opened,escalated}}');
    INSERT INTO oncall_schedules (tenant_id, id, name) VALUES ('{t}', '{id}', 's');
    INSERT INTO oncall_layers (tenant_id, id, schedule_id) VALUES ('{t}', '{id}', '{id}');
    INSERT INTO oncall_responders (tenant_id, layer_id, position, user_id)
      VALUES ('{t}', '{id}', 0, '{person}');
    INSERT INTO oncall_overrides (tenant_id, schedule_id, layer_id, user_id, starts_at, ends_at)
      VALUES ('{t}', '{id}', '{id}', '{person}', now() + interval '1 h', now() + interval '2 h');
    INSERT INTO escalation_policies (tenant_id, id, name, is_default)
      VALUES ('{t}', '{id}', 'e', true);
    INSERT INTO escalation_levels
           (tenant_id, policy_id, level, delay_minutes, channel_id, oncall_schedule_id)
      VALUES ('{t}', '{id}', 1, 0, '{id}', '{id}'), ('{t}', '{id}', 2, 0, '{id}', '{id}');
    INSERT INTO alert_rules (tenant_id, rule_id, name, escalation_policy_id)
      VALUES ('{t}', '{id}', 'r', '{id}');
    INSERT INTO device_tags (tenant_id, device_id, tag, value) VALUES ('{t}', 'pump', 'a', 'b');
    INSERT INTO device_groups (tenant_id, group_id, name) VALUES ('{t}', '{id}', 'g');
    INSERT INTO device_group_members (tenant_id, group_id, device_id)
      VALUES ('{t}', '{id}', 'pump');
    INSERT INTO alert_maintenance_windows
           (tenant_id, window_id, name, starts_at, recur_weekdays, recur_start_minute,
            recur_minutes)
      VALUES ('{t}', '{id}', 'w', now() - interval '9 days', '{{1,2,3,4,5,6,7}}', 0, 1);
    INSERT INTO alert_maintenance_targets (tenant_id, window_id, device_id)
      VALUES ('{t}', '{id}', 'pump');
    INSERT INTO endpoints (tenant_id, id, project_id, name, url)
      VALUES ('{t}', '{id}', '{id}', 'e', 'https://x.test'),
             ('{t}', '{other}', '{id}', 'f', 'https://y.test');
    INSERT INTO endpoint_dependencies (tenant_id, endpoint_id, depends_on_id)
      VALUES ('{t}', '{id}', '{other}');
    INSERT INTO device_state (tenant_id, device_id, status, last_seen_at)
      VALUES ('{t}', 'pump', 'online', now() - interval '2 h');
    INSERT INTO fleet_alert (tenant_id, fingerprint, alert_type, severity, summary, device_id,
                             rule_id, escalation_policy_id, next_escalation_at)
      VALUES ('{t}', 'f', 'threshold', 3, 's', 'pump', '{id}', '{id}', now() - interval '1 h');
    INSERT INTO notification_jobs (tenant_id, channel_id, alert_id, event)
      SELECT tenant_id, '{id}', id, 'acknowledged' FROM fleet_alert WHERE tenant_id = '{t}';
    INSERT INTO jobs (tenant_id, type, max_attempts) VALUES ('{t}', 'export', 2);
"""
_ID, _OTHER = "00000000-0000-0000-0000-00000000001d", "00000000-0000-0000-0000-00000000001e"

_TAKE = "SELECT * FROM take_job('w', '{export}')"
_TAKEN = "SELECT * FROM take_notification_jobs('w', 100)"
_ENDED = (
    "SELECT finish_notification_job(id, 'w', {}, 'no', tenant => tenant_id)"
    " FROM notification_jobs WHERE worker = 'w' AND status = 'processing'"
)
WORK = (
    *(_TAKE, _TAKE),
    "SELECT beat_job(tenant_id, id, 'w', '{}') FROM jobs WHERE status = 'running'",
    "SELECT fail_job(tenant_id, id, 'w', 'no') FROM jobs WHERE status = 'running'",
    "UPDATE jobs SET run_at = now() WHERE status = 'queued'",
    *(_TAKE, _TAKE),
    "UPDATE jobs SET last_heartbeat_at = now() - interval '1 h' WHERE status = 'running'",
    _TAKE,
    "SELECT finish_job(tenant_id, id, 'w') FROM jobs",
    _TAKEN,
    _ENDED.format("false"),
    "UPDATE notification_jobs SET next_run_at = now() WHERE status = 'pending'",
    _TAKEN,
    _ENDED.format("true"),
    "SELECT under_maintenance(device_id => 'pump', tenant => t.tenant_id) FROM tenants t",
    "SELECT who_is_on_call(s.id, tenant => s.tenant_id) FROM oncall_schedules s",
    (
        "SELECT t.*, route_alert(alert_id, 'escalated', t.level, tenant => t.tenant_id),"
        "       jsonb_build_object('summary', t.summary) FROM take_due_escalations() t"
    ),
    (
        "SELECT raise_alert(fingerprint, 't', 3, 's', tenant => tenant_id, device_id => 'pump')"
        " FROM fleet_alert"
    ),
    "SELECT * FROM take_due_checks('w')",
    "SELECT endpoint_health(tenant_id, id, 'healthy') FROM endpoints",
    "SELECT mark_silent_devices()",
)
"""What workers of the platform ask, of all tenants at once."""

# What a function that operators may call reads, as far as the catalog says it.
_READ = """
    SELECT c.relname, array_agg(DISTINCT p.proname::text)
      FROM pg_depend d
      JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
      JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
     WHERE has_function_privilege('fleet_operator', p.oid, 'EXECUTE')
       AND has_any_column_privilege('fleet_app', c.oid, 'INSERT, UPDATE')
       AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
     GROUP BY 1 ORDER BY 1
"""
_COLUMNS = sa.text("""
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
           has_column_privilege('fleet_app', a.attrelid, a.attnum, 'INSERT') AS inserted,
           has_column_privilege('fleet_app', a.attrelid, a.attnum, 'UPDATE') AS updated
      FROM pg_attribute a
     WHERE a.attrelid = CAST(:table AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attgenerated = ''
       AND has_column_privilege('fleet_app', a.attrelid, a.attnum, 'INSERT, UPDATE')
     ORDER BY a.attnum
""")


@dataclass(frozen=True)
class Change:
    """What a tenant writes into columns of a row of its own."""

    table: str
    key: tuple[str, ...]
    values: Mapping[str, str]
    """Column to an expression in SQL."""
    inserted: tuple[str, ...] = ()
    """What it may give a new row, if it may not change this one."""

    def __str__(self) -> str:
        listed = (f"{column} = {value[:50]}" for column, value in self.values.items())
        return f"{self.table}: {', '.join(listed)}"

    def run(self, connection: Connection) -> bool:
        """Whether the server lets Globex do that; the connection acts as an operator then.

        To be rolled back to a savepoint in either case.
        """
        table, key = f"public.{ident(self.table)}", ", ".join(map(ident, self.key))
        own = f"FROM {table} WHERE tenant_id = '{GLOBEX}' ORDER BY {key} LIMIT 1"
        first = f"{table} WHERE ({key}) = (SELECT {key} {own})"
        take_role(connection, OPERATOR, None)
        if self.inserted:
            [row] = connection.exec_driver_sql(
                f"DELETE FROM {first} RETURNING to_jsonb({ident(self.table)})::text"
            ).one()
            given = [self.values.get(one, ident(one)) for one in self.inserted]
            listed = ", ".join(map(ident, self.inserted))
            statement = f"INSERT INTO {table} ({listed}) SELECT {', '.join(given)}"
            statement += f" FROM jsonb_populate_record(NULL::{table}, {literal(row)})"
        else:
            written = ", ".join(f"{ident(one)} = {value}" for one, value in self.values.items())
            statement = f"UPDATE {first}".replace("WHERE", f"SET {written} WHERE", 1)
        take_role(connection, APP, GLOBEX)
        try:
            done = connection.exec_driver_sql(statement, execution_options=RAW_SQL).rowcount
        except DBAPIError:
            return False
        assert done == 1, statement
        take_role(connection, OPERATOR, None)
        return True


def fill(connection: Connection) -> None:
    """Rows of Acme and Globex that all workers come across; those of Globex come first."""
    for tenant, person in ((GLOBEX, EVE), (ACME, ANN)):
        rows = _ROWS.format(t=tenant, id=_ID, other=_OTHER, person=person)
        connection.exec_driver_sql(rows, execution_options=RAW_SQL)


def work_on(connection: Connection) -> dict[str, list[str]]:
    """Each table of tenants that functions of operators read, to what of WORK reads it."""
    found: dict[str, list[str]] = {}
    for table, functions in connection.exec_driver_sql(_READ):
        read = re.compile(rf"\b({'|'.join(functions)})\(|UPDATE {table}\b")
        found[table] = [statement for statement in WORK if read.search(statement)]
    return found


def changes(connection: Connection, table: str) -> Iterator[Change]:
    """All that a tenant could write: into each column, and into each two columns of numbers."""
    columns = connection.execute(_COLUMNS, {"table": f"public.{table}"}).all()
    key = tuple(models.metadata.tables[table].primary_key.columns.keys())
    inserted = tuple(one.name for one in columns if one.inserted)
    given = [one for one in columns if one.name != "tenant_id"]
    for one in given:
        for value in EXTREMES[one.type]:
            yield Change(table, key, {one.name: value}, () if one.updated else inserted)
    for one, two in itertools.combinations(given, 2):
        both = () if one.updated and two.updated else inserted
        if one.type == two.type and (LONG or one.type in _COUNTED):
            for value, other in itertools.product(EXTREMES[one.type], repeat=2):
                yield Change(table, key, {one.name: value, two.name: other}, both)
    yield from (Change(table, key, values) for values in _TOGETHER.get(table, ()))
