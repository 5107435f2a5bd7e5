"""A grant on rows that are kept outside the table whose policies hide them is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import TIMESTAMP, Column, Engine, Integer, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import (
    Function,
    Grant,
    HiddenFrom,
    Hypertable,
    MaterializedView,
    Policy,
    Rollup,
    RowLevelSecurity,
    View,
    check_copies,
)
from tests.ddl.case import SETTINGS
from tests.support.generated_revisions import metadata_of, migration

Declare = Callable[[MetaData], Any]


def tables(metadata: MetaData) -> None:
    """``secured``, of which r_app sees some rows and r_op all; ``open`` without row security."""
    Table(
        "secured",
        metadata,
        Column("tenant", Integer, primary_key=True, autoincrement=False),
        RowLevelSecurity(),
        Policy("own", to="r_app", using="tenant = 1"),
        Policy("every", to="r_op", using="(true)"),
        Grant("select", to="r_app"),
        Grant("select", to="r_op"),
    )
    Table("open", metadata, Column("tenant", Integer))


def totals(
    metadata: MetaData, query: str, to: str = "r_app", privileges: str = "select"
) -> MaterializedView:
    return MaterializedView("totals", query, grants={to: privileges}, metadata=metadata)


def over_a_view(metadata: MetaData) -> None:
    View("v", "SELECT tenant FROM public.secured", metadata=metadata)
    totals(metadata, "SELECT count(*) AS n FROM open CROSS JOIN v")


def over_a_function(body: str, **given: Any) -> Declare:
    def declare(metadata: MetaData) -> None:
        Function("counted", returns="bigint", body=body, metadata=metadata, **given)
        totals(metadata, "SELECT counted() AS n")

    return declare


def over_its_own(metadata: MetaData) -> None:
    MaterializedView("inner_totals", "SELECT tenant FROM secured", metadata=metadata)
    totals(metadata, "SELECT count(*) AS n FROM inner_totals")


def with_a_restrictive_policy(metadata: MetaData) -> None:
    """r_read may see every row, but for those that another policy takes away."""
    Table(
        "narrowed",
        metadata,
        Column("tenant", Integer),
        RowLevelSecurity(),
        Policy("every", to="r_read", using="true"),
        Policy("not_all", to="r_read", using="tenant > 1", permissive=False),
    )
    totals(metadata, "SELECT tenant FROM narrowed", to="r_read")


def with_a_policy_for_all(metadata: MetaData) -> None:
    Table(
        "of_all",
        metadata,
        Column("tenant", Integer),
        RowLevelSecurity(),
        Policy("own", to="PUBLIC", command="select", using="tenant = 1"),
    )
    totals(metadata, "SELECT tenant FROM of_all", to="r_read")


REFUSED: Mapping[str, tuple[Declare, str]] = {
    "table": (lambda m: totals(m, "SELECT tenant FROM secured"), "r_app"),
    "some columns": (
        lambda m: totals(m, "SELECT tenant FROM secured", privileges="select (tenant)"),
        "r_app",
    ),
    "everybody": (lambda m: totals(m, "SELECT tenant FROM secured", to="PUBLIC"), "PUBLIC"),
    "view": (over_a_view, "r_app"),
    "materialized view": (over_its_own, "r_app"),
    "parsed function": (
        over_a_function("BEGIN ATOMIC SELECT count(*) FROM secured; END"),
        "r_app",
    ),
    "text function": (
        over_a_function(
            "begin return (select count(*) from public.secured); end",
            language="plpgsql",
            settings=SETTINGS,
        ),
        "r_app",
    ),
    "text function, unqualified": (
        over_a_function(
            'begin return (select count(*) from only "secured"); end',
            language="plpgsql",
            settings={"search_path": "public"},
        ),
        "r_app",
    ),
    "spaces": (lambda m: totals(m, 'SELECT tenant FROM "public" . "secured"'), "r_app"),
    "only": (lambda m: totals(m, "SELECT tenant FROM ONLY (secured)"), "r_app"),
    "restrictive policy": (with_a_restrictive_policy, "r_read"),
    "policy for all": (with_a_policy_for_all, "r_read"),
}


@pytest.mark.parametrize(("declare", "role"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(declare: Declare, role: str) -> None:
    metadata = MetaData()
    tables(metadata)
    declare(metadata)
    expected = rf"materialized view public\.totals: expected no grant to {role}.* let {role} read a"
    with pytest.raises(ArgumentError, match=expected):
        check_copies(metadata)


def dynamic(metadata: MetaData) -> None:
    over_a_function(
        "begin return query execute 'select tenant from ' || 'secured'; end",
        language="plpgsql",
        settings=SETTINGS,
    )(metadata)


UNKNOWN: Mapping[str, tuple[Declare, str]] = {
    "query as text": (
        lambda m: totals(m, "SELECT query_to_xml('TABLE secured', true, true, '') AS x"),
        "query_to_xml",
    ),
    "table as text": (
        lambda m: totals(m, "SELECT TABLE_TO_XML('secured', true, true, '') AS x"),
        "table_to_xml",
    ),
    "words of the rows": (
        lambda m: totals(m, "SELECT * FROM ts_stat('SELECT x FROM secured')"),
        "ts_stat",
    ),
    "statistics": (lambda m: totals(m, "SELECT most_common_vals::text FROM pg_stats"), "pg_stats"),
    "dynamic statement": (dynamic, r"public\.counted: execute"),
    "behind a view": (
        lambda m: (
            View("v", "SELECT query_to_xml('TABLE secured', true, true, '') AS x", metadata=m),
            totals(m, "SELECT x::text FROM v"),
        ),
        r"public\.v: query_to_xml",
    ),
}


@pytest.mark.parametrize(("declare", "used"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_read_cannot_be_known(declare: Declare, used: str) -> None:
    metadata = MetaData()
    tables(metadata)
    declare(metadata)
    with pytest.raises(ArgumentError, match=rf"no grant to r_app.* cannot be known \({used}\)"):
        check_copies(metadata)


@pytest.mark.parametrize(
    "declare",
    [
        pytest.param(
            lambda m: totals(m, "SELECT query_to_xml('', true, true, '') AS x", to="r_read"),
            id="unknown, unbound",
        ),
        pytest.param(lambda m: totals(m, "SELECT E'\\' from secured' AS x FROM open"), id="string"),
        pytest.param(
            over_a_function("begin return 1; end", language="plpgsql", settings=SETTINGS),
            id="text function that reads nothing",
        ),
        pytest.param(lambda m: totals(m, "SELECT tenant FROM secured", to="r_op"), id="sees all"),
        pytest.param(lambda m: totals(m, "SELECT tenant FROM secured", to="r_read"), id="unbound"),
        pytest.param(lambda m: totals(m, "SELECT tenant FROM open"), id="no row-level security"),
        pytest.param(
            lambda m: totals(m, "SELECT 'from secured' AS x -- from secured\nFROM open"), id="words"
        ),
    ],
)
def test_accepted(declare: Declare) -> None:
    metadata = MetaData()
    tables(metadata)
    declare(metadata)
    check_copies(metadata)


def test_message_names_the_table_behind() -> None:
    metadata = metadata_of(tables)
    over_a_view(metadata)
    with pytest.raises(ArgumentError, match=r"It reads table public\.secured\. Leave the grant"):
        check_copies(metadata)


@pytest.mark.parametrize(
    "query",
    [
        'SELECT tenant FROM U&"secured"',
        """SELECT word FROM U&"ts\\005Fstat"('SELECT to_tsvector(''x'')')""",
    ],
)
def test_what_only_the_server_knows(engine: Engine, query: str) -> None:
    """The text does not show what is read: the comparison does."""

    def declare(metadata: MetaData) -> None:
        tables(metadata)
        totals(metadata, query)

    metadata = metadata_of(declare)
    check_copies(metadata)
    with engine.connect() as connection, pytest.raises(CommandError, match=r"no grant to r_app"):
        migration(connection, metadata)


def series(metadata: MetaData, **granted: str) -> None:
    """A hypertable hidden from r_app, and a rollup over it."""
    Table(
        "readings",
        metadata,
        Column("tenant", Integer, primary_key=True, autoincrement=False),
        Column("at", TIMESTAMP(timezone=True), primary_key=True),
        Hypertable("at", chunk_interval="1 day"),
        HiddenFrom("r_app"),
        *([Grant(granted["table"], to="r_app")] if "table" in granted else []),
        schema="series",
    )
    Rollup(
        "hourly",
        "SELECT tenant, time_bucket('1 hour', at) AS bucket FROM series.readings GROUP BY 1, 2",
        grants={"r_app": granted["rollup"]} if "rollup" in granted else {"r_op": "select"},
        schema="series",
        metadata=metadata,
    )


@pytest.mark.parametrize(
    ("granted", "title"),
    [
        ({"table": "select"}, r"hypertable series\.readings"),
        ({"table": "insert"}, r"hypertable series\.readings"),
        ({"rollup": "select"}, r"rollup series\.hourly"),
    ],
)
def test_hidden_hypertable(granted: dict[str, str], title: str) -> None:
    metadata = MetaData()
    series(metadata, **granted)
    with pytest.raises(ArgumentError, match=f"{title}: expected no grant to r_app"):
        check_copies(metadata)


def test_view_over_a_hidden_rollup() -> None:
    """The way that the message names."""
    metadata = MetaData()
    series(metadata)
    View(
        "hourly",
        "SELECT tenant, bucket FROM series.hourly WHERE tenant = 1",
        security_invoker=False,
        reason="Its condition shows a tenant its own rows.",
        grants={"r_app": "select"},
        metadata=metadata,
    )
    check_copies(metadata)
