"""Which numbers count over tenants, and that docs/isolation.md names them."""

from __future__ import annotations

import itertools
import re

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.tenancy import tenant_transaction
from ddl.sql import ident
from models.shared.base import TIMESERIES
from tests.isolation.conftest import ME, OTHER
from tests.support.commands import ROOT
from tests.support.two_tenants import tenant_tables

COUNTED = sa.text("""
    SELECT c.relname || '.' || a.attname
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
      LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
     WHERE c.relnamespace = ANY (ARRAY['public', 'timeseries']::regnamespace[])
       AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id')
       AND (a.attidentity <> '' OR EXISTS (
              SELECT FROM pg_depend s JOIN pg_class q ON q.oid = s.refobjid AND q.relkind = 'S'
               WHERE s.classid = 'pg_attrdef'::regclass AND s.objid = d.oid))
     ORDER BY 1
""")


def named() -> list[str]:
    page = (ROOT / "docs" / "isolation.md").read_text(encoding="utf-8")
    [sentence] = re.findall(r"Numbers from identity columns \(([^)]*)\)", page)
    return sorted(re.findall(r"`(\w+\.\w+)`", sentence))


def test_the_page_names_every_number_that_counts_over_tenants(marked: Engine) -> None:
    with marked.connect() as connection:
        assert list(connection.scalars(COUNTED)) == named()
        # A function or trigger could count by a sequence, too.
        calling = connection.exec_driver_sql(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND (prosrc ~* 'nextval' OR pg_get_function_sqlbody(oid) ~* 'nextval')",
            execution_options={"no_parameters": True},
        )
        assert calling.scalars().all() == []


@pytest.mark.parametrize("column", named())
def test_they_do(marked: Engine, column: str) -> None:
    """The number of one tenant's row and of the other's next one are neighbours."""
    table, _, name = column.partition(".")
    query = f"SELECT max({name}) FROM {table} WHERE tenant_id = %s"
    with marked.connect() as connection:
        found = [connection.exec_driver_sql(query, (one,)).scalar() for one in (OTHER, ME)]
    assert found[1] == found[0] + 1


def test_ids_are_random_beside_the_time(marked: Engine) -> None:
    """Two ids of one moment are apart by more than anybody could count."""
    with marked.connect() as connection:
        ids = connection.exec_driver_sql("SELECT uuid7() FROM generate_series(1, 1000)")
        tails = {one.int & (2**62 - 1) for one in ids.scalars()}
    assert len(tails) == 1000
    gaps = sorted(tails)
    assert max(b - a for a, b in itertools.pairwise(gaps)) > 2**50


def test_system_columns_are_those_of_tables_only(marked: Engine) -> None:
    """As the page says: xmin and ctid count for all tenants; tenant views have none."""
    shown = set()
    for table in tenant_tables():
        with tenant_transaction(marked, ME) as connection:
            try:
                connection.exec_driver_sql(f"SELECT xmin, ctid FROM public.{ident(table.name)}")
            except DBAPIError:
                continue
            shown.add(table.schema)
    assert TIMESERIES not in shown
    assert shown == {None}
