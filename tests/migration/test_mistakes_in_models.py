"""A mistake in a model is one message with what to write, whichever command imports the models."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.support.alembic_project import alembic, copy_project, failure, operations
from tests.support.engines import execute

NOWHERE = "postgresql://127.0.0.1:1/none"
"""Models are read before a server is asked for."""

HEAD = """\
import datetime
import enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ddl import Grant, Policy
from models.shared.base import Base, Catalogue, Identified, Private, TenantScoped, tenant_reference


class PumpState(enum.Enum):
    running = "running"
    stopped = "it's stopped"


"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose models import ``models/pumps.py``."""
    project = copy_project(tmp_path_factory.mktemp("mistakes") / "project")
    package = project / "models" / "__init__.py"
    text = package.read_text(encoding="utf-8")
    package.write_text(text.replace("    notification,\n", "    notification,\n    pumps,\n", 1))
    return project


def mistake(project: Path, model: str) -> str:
    """The message about ``models/pumps.py`` with these classes, on one line."""
    text = HEAD + textwrap.dedent(model).lstrip()
    (project / "models" / "pumps.py").write_text(text, encoding="utf-8")
    return " ".join(failure(alembic("check", url=NOWHERE, cwd=project)).split())


def test_native_enums(project: Path) -> None:
    found = mistake(
        project,
        """
        class Pump(TenantScoped, Identified, Base):
            __tablename__ = "pumps"
            state: Mapped[PumpState]
            states: Mapped[list[PumpState] | None] = mapped_column(sa.ARRAY(sa.Enum(PumpState)))
        """,
    )
    why = (
        "is a native enum, pumpstate: PostgreSQL can take no value from it, and its comparison"
        " keeps row-level security from using an index; write"
    )
    assert found == (
        f"column pumps.state {why} state: Mapped[str], and in __table_args__"
        f' one_of("state", ("running", "stopped"))'
        f" column pumps.states {why} states: Mapped[list[str] | None], and in __table_args__"
        """ CheckConstraint("states <@ ARRAY['running', 'stopped']", name="states")"""
    )
    result = operations("reference", url=NOWHERE, cwd=project)
    assert result.returncode == 1
    assert f"error: {found}" == " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("sitez.id", "table sitez, which no model declares; did you mean sites?"),
        ("sites.site", "sites.site, but sites has no such column; did you mean site_id?"),
        (
            "telemetry.ts",
            "table telemetry, which no model declares; did you mean timeseries.telemetry?",
        ),
    ],
)
def test_wrong_foreign_key(project: Path, target: str, expected: str) -> None:
    model = f"""
        class Pump(TenantScoped, Identified, Base):
            __tablename__ = "pumps"
            other: Mapped[str] = mapped_column(sa.ForeignKey("{target}"))
        """
    assert mistake(project, model) == f"column pumps.other refers to {expected}"


TECHNICIAN = """
    class Pump(TenantScoped, Identified, Base):
        __tablename__ = "pumps"
        __table_args__ = (
            Policy("technicians", to="mechanics", using="true"),
            Grant("select", to="mechanics"),
        )
    """


def test_a_role_of_ones_own(project: Path, migrated_database: str) -> None:
    found = mistake(project, TECHNICIAN)
    assert found == (
        "grant public.pumps names the role mechanics, which is not declared; add it in ROLES of"
        " models/shared/roles.py"
    )
    roles = project / "models" / "shared" / "roles.py"
    declared = roles.read_text(encoding="utf-8")
    added = 'ROLES: tuple[Role, ...] = (\n    Role("mechanics", "Technicians."),'
    roles.write_text(declared.replace("ROLES: tuple[Role, ...] = (", added), encoding="utf-8")
    try:
        assert "alembic upgrade head" in failure(
            alembic("check", url=migrated_database, cwd=project)
        )
        result = alembic("upgrade", "head", url=migrated_database, cwd=project)
        assert result.returncode == 0, result.stderr
        words = ("login", "create", "tech", "--role", "mechanics")
        result = operations(*words, url=migrated_database, cwd=project)
        assert result.returncode == 0, result.stderr
        assert "Timeouts  statement 30s" in result.stdout
    finally:
        roles.write_text(declared, encoding="utf-8")
        execute(
            migrated_database,
            "DROP OWNED BY mechanics; DROP ROLE IF EXISTS tech, mechanics",
        )


def test_wrong_relationship(project: Path) -> None:
    found = mistake(
        project,
        """
        class Pump(TenantScoped, Identified, Base):
            __tablename__ = "pumps"
            site: Mapped[Any] = relationship("Sitee")
        """,
    )
    assert "'Sitee' failed to locate a name" in found
    assert "Pump(pumps)" in found


@pytest.mark.parametrize(
    ("scope", "body", "expected"),
    [
        ("Private", "", "could not assemble any primary key"),
        ("Identified", "", "Pump has no scope"),
        ("Catalogue, Identified", "__tablename__ = 'sites'", "Table 'sites' is already defined"),
        (
            "Catalogue, Identified",
            "at: Mapped[datetime.tzinfo]",
            "Could not locate SQLAlchemy Core type",
        ),
        (
            "Catalogue, Identified",
            "__table_args__ = (sa.Index(None, 'maker'),)",
            "no column named 'maker'",
        ),
    ],
)
def test_line_of_the_class(project: Path, scope: str, body: str, expected: str) -> None:
    model = f"""
        class Pump({scope}, Base):
            __tablename__ = "pumps"
            {body}
        """
    found = mistake(project, model)
    assert expected in found
    assert found.endswith(f"(models/pumps.py:{len(HEAD.splitlines()) + 1})")


def test_python_says_where_its_own_errors_are(project: Path) -> None:
    (project / "models" / "pumps.py").write_text("import nosuch\n", encoding="utf-8")
    result = alembic("check", url=NOWHERE, cwd=project)
    assert result.returncode == 1
    assert result.stderr.endswith("ModuleNotFoundError: No module named 'nosuch'\n")
    assert 'models/pumps.py", line 1' in result.stderr
