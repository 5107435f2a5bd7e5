"""Every database keeps the rules, and every rule finds what breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from database.rules import MODULES, RULES, Finding, Rule
from tests.support.alembic_project import alembic, copy_project
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.time_series import migrate

BROKEN = [
    pytest.param(rule, *example, id=f"{name}-{number}")
    for name, rule in RULES.items()
    for number, example in enumerate(rule.broken_by)
]
KEPT = [
    pytest.param(rule, statements, id=f"{name}-{number}")
    for name, rule in RULES.items()
    for number, statements in enumerate(rule.kept_by)
]


def assert_none(findings: list[Finding]) -> None:
    assert not findings, "\n" + "\n".join(finding.message for finding in findings)


@pytest.fixture(scope="module")
def url(make_shared_database: MakeDatabase) -> str:
    """A database at head for this module, every change in which is rolled back."""
    return make_shared_database(like=migrate, name="catalog_rules")


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with engine_of(url) as engine, engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("name", RULES)
def test_the_database_keeps_the_rule(connection: Connection, name: str) -> None:
    assert_none(RULES[name].findings(connection))


@pytest.mark.timescaledb
def test_hypertables_keep_the_rules_too(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    """TimescaleDB makes triggers, indexes and relations of its own."""
    with (
        engine_of(make_database(timescaledb_server, like=migrate)) as engine,
        engine.connect() as connection,
    ):
        assert_none([found for rule in RULES.values() for found in rule.findings(connection)])


@pytest.mark.parametrize(("rule", "statements", "named", "found"), BROKEN)
def test_what_breaks_a_rule_is_found(
    connection: Connection, rule: Rule, statements: str, named: str, found: str
) -> None:
    before = rule.findings(connection)
    connection.exec_driver_sql(statements)
    new = [finding for finding in rule.findings(connection) if finding not in before]
    assert any(finding.object == named and finding.found.startswith(found) for finding in new), (
        f"{named}: {found} is not among {new}"
    )


@pytest.mark.parametrize(("rule", "statements"), KEPT)
def test_what_keeps_a_rule_is_not_found(
    connection: Connection, rule: Rule, statements: str
) -> None:
    connection.exec_driver_sql(statements)
    assert_none(rule.findings(connection))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rsplit(".", 1)[1])
def test_a_rule_gives_its_reason_and_an_example(module: object) -> None:
    """The first line of its docstring is the rule, the rest the reason."""
    rule, _, reason = (module.__doc__ or "").partition("\n\n")
    assert rule.endswith(".")
    assert reason.strip()
    assert module.RULE.broken_by  # type: ignore[attr-defined]


def test_a_finding_says_how_to_fix_it(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE sites ADD x json")
    [finding] = RULES["json_is_jsonb"].findings(connection)
    assert finding.message == (
        "sites.x: expected jsonb, found json; in the model map it as dict[str, Any] or list[Any]"
    )


VALVES = '''"""Valves."""

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import Base, Catalogue, Identified, TenantScoped, tenant_reference


class Valve(TenantScoped, Identified, Base):
    """A valve."""

    __tablename__ = "valves"

    site_id: Mapped[str] = mapped_column("site_id", type_=__import__("sqlalchemy").Uuid)
    name: Mapped[str] = mapped_column(String(20))
    settings: Mapped[str] = mapped_column(JSON)

    __table_args__ = (tenant_reference("site_id", "sites"),)


class ValveKind(Catalogue, Base):
    """A kind of valve."""

    __tablename__ = "valve_kinds"

    id: Mapped[int] = mapped_column(primary_key=True)

    __table_args__ = ({"comment": "Kinds of valves."},)
'''


def test_generating_a_revision_says_which_rules_the_models_break(
    migrated_database: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "project")
    (project / "models" / "valves.py").write_text(VALVES)
    with (project / "models" / "__init__.py").open("a") as file:
        file.write("\nfrom models import valves  # noqa: E402, F401\n")
    result = alembic("revision", "--autogenerate", "-m", "x", url=migrated_database, cwd=project)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    broken = sorted(line[10:] for line in lines if line.startswith("  ! rule: "))
    assert [line.partition(": expected ")[0] for line in broken] == [
        "fk_valves_site_id (valves)",
        "valve_kinds.id",
        "valve_kinds.id",
        "valves.name",
        "valves.settings",
        "valves",
    ]
    assert broken[1:3] == [
        (
            "valve_kinds.id: expected GENERATED BY DEFAULT AS IDENTITY, found DEFAULT"
            " nextval('valve_kinds_id_seq'::regclass); in the model write mapped_column(BigInteger,"
            " Identity())"
        ),
        (
            "valve_kinds.id: expected that who may insert may use the sequence, found"
            " fleet_operator may insert, but not use sequence valve_kinds_id_seq;"
            " in the model write Identity() in"
            ' the column, or Grant("usage", to="fleet_operator", on="sequence valve_kinds_id_seq")'
            " in its table"
        ),
    ]
    assert broken[3].endswith('limit it with CheckConstraint("length(…) <= …")')
