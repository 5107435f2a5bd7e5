"""The condition of a tenant view, or of a policy, comes before all that a tenant can write.

An expression that fails prints the value that it failed on, of whoever owns the row. Here each
prints a value of the other tenant, if it ever gets one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_transaction
from ddl import Declared
from ddl.kinds.view import ViewState
from models import metadata
from models.shared.base import TIMESERIES
from tests.isolation.conftest import ME, OTHER
from tests.support.databases import LONG

FAILS = "CASE WHEN {column}::text LIKE '%%a1' THEN {column}::text::int END"
"""Fails for the other tenant only, so that no own row is in the way."""

CONDITIONS = {
    "a cast": f"{FAILS} IS NOT NULL",
    "at half the price of an operator": "{column}::text LIKE ANY (ARRAY['%%a1\\'])",
    "a sub-select that costs nothing": (
        f"(SELECT 1 FROM pg_class WHERE false LIMIT {FAILS}) IS NOT NULL"
    ),
    "an offset that costs nothing": (
        f"EXISTS (SELECT FROM pg_class WHERE false OFFSET coalesce({FAILS}, 0))"
    ),
    "JSON that costs nothing": (
        "JSON_OBJECT(coalesce({column}::text, '') : 1, coalesce({column}::text, '') : 2"
        " WITH UNIQUE KEYS) IS NOT NULL"
    ),
}
"""In a WHERE clause; `{column}` is a column of the view."""

STATEMENTS = {
    "where": "SELECT count(*) FROM {view} t WHERE {condition}",
    "newest": "SELECT * FROM {view} t WHERE {condition} ORDER BY 1, 2 DESC LIMIT 1",
    "under an outer join": (
        "SELECT FROM (VALUES (1)) d LEFT JOIN (SELECT *, {condition} AS found FROM {view} t) t"
        " ON true WHERE found IS NOT NULL"
    ),
    "beside a union": (
        "SELECT FROM (SELECT *, {condition} AS found FROM {view} t"
        " UNION ALL SELECT *, NULL FROM {view}) u WHERE found"
    ),
    "join": "SELECT FROM {view} t JOIN {view} u ON u.tenant_id = t.tenant_id AND {condition}",
    "having": "SELECT tenant_id FROM {view} t GROUP BY t.tenant_id, {column} HAVING {condition}",
}

OF_NOBODY = re.compile('key value: ""|badly formatted node string "PLACEHOLDERVAR')
"""Other errors: of own rows without text, and of TimescaleDB's (2.28.3) parallel workers."""

PLANS: dict[str, dict[str, object]] = {
    "as planned": {},
    "without indexes": {"enable_indexscan": "off", "enable_bitmapscan": "off"},
    "where rows cost nothing": {"cpu_tuple_cost": 0, "enable_indexscan": "off"},
    "in parallel": {
        "parallel_setup_cost": 0,
        "parallel_tuple_cost": 0,
        "min_parallel_table_scan_size": 0,
        "enable_indexscan": "off",
    },
}


def targets() -> Iterator[tuple[str, str]]:
    """Tenant views and two ordinary tables, each with a column that tells whose a row is.

    One of each kind; in the long form, every tenant view.
    """
    views = Declared.on(metadata).of(ViewState)
    for state in views.values():
        tenants = not state.security_invoker and f"FROM {TIMESERIES}." in state.definition
        if tenants and (LONG or state.name.startswith("telemetry") or state.name == "audit_events"):
            yield state.name, "device_id" if "device_id" in state.definition else "tenant_id"
    yield "sites", "name"
    yield "alert_rules", "name"


def failing(connection: Connection, statement: str) -> str | None:
    """What the server says of a statement that fails."""
    savepoint = connection.begin_nested()
    try:
        connection.exec_driver_sql(
            statement.replace("%%", "%"), execution_options={"no_parameters": True}
        )
    except DBAPIError as error:
        return str(error.orig)
    finally:
        savepoint.rollback()
    return None


@pytest.mark.parametrize("plan", PLANS)
def test_no_condition_sees_a_row_of_the_other(marked: Engine, plan: str) -> None:
    found, passed = [], 0
    with tenant_transaction(marked, ME) as connection:
        version = connection.dialect.server_version_info or ()
        for name, value in PLANS[plan].items():
            connection.exec_driver_sql(f"SET LOCAL {name} = {value}")
        for view, column in targets():
            for kind, condition in CONDITIONS.items():
                if "JSON_OBJECT" in condition and version < (16,):
                    continue
                given = condition.format(column=f"t.{column}")
                for form, statement in STATEMENTS.items():
                    asked = statement.format(view=view, condition=given, column=f"t.{column}")
                    error = failing(connection, asked)
                    passed += error is None
                    if error and str(OTHER) in error:
                        found.append(f"{view}, {kind}, {form}: {error}")
                    elif error and str(ME) not in error and not OF_NOBODY.search(error):
                        found.append(f"{view}, {kind}, {form}: not what this is about: {error}")
        connection.rollback()
    assert found == []
    assert passed > 60, "this test would pass without asking"
