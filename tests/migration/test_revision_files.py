"""Revision files: numbered, one head, never edited once released, written for a new model."""

from __future__ import annotations

import subprocess
from pathlib import Path

import sqlalchemy as sa

from tests.support.alembic_project import alembic, copy_project, failure, operations
from tests.support.engines import engine_of


def test_revisions_are_numbered(migrated_database: str, tmp_path: Path) -> None:
    """Alembic assigns the number and updates HEAD; without a difference it writes no file."""
    project = copy_project(tmp_path / "project")
    versions = project / "alembic/versions"
    head = int((versions / "HEAD").read_text()[:4])
    before = set(versions.iterdir())
    result = alembic("revision", "--autogenerate", "-m", "x", url=migrated_database, cwd=project)
    assert "No difference" in result.stdout, result.stdout + result.stderr
    assert set(versions.iterdir()) - before <= {versions / "__pycache__"}
    assert alembic("revision", "-m", "By hand", url=migrated_database, cwd=project).returncode == 0
    assert (versions / f"{head + 1:04d}_by_hand.py").exists()
    assert (versions / "HEAD").read_text().strip() == f"{head + 1:04d}_by_hand"
    assert alembic("upgrade", "head", url=migrated_database, cwd=project).returncode == 0


def test_edited_revision_is_rejected(migrated_database: str, tmp_path: Path) -> None:
    """Released: it has been applied somewhere in its old form."""
    project = copy_project(tmp_path / "project")
    versions = project / "alembic/versions"
    assert released(project)
    path = next(versions.glob("0005_*.py"))
    path.write_text(path.read_text() + "\n# edited\n")
    for arguments in (("upgrade", "head"), ("check",), ("revision", "-m", "next")):
        message = failure(alembic(*arguments, url=migrated_database, cwd=project))
        assert "0005" in message
        assert "never edited" in message


def test_edited_revision_that_is_not_released_gives_a_warning(
    migrated_database: str, tmp_path: Path
) -> None:
    """One line says how to renew the database; once the revision is released, it is an error."""
    project = copy_project(tmp_path / "project")
    assert released(project)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return alembic(*arguments, url=migrated_database, cwd=project)

    assert run("revision", "-m", "In work").returncode == 0
    assert run("upgrade", "head").returncode == 0
    path = next((project / "alembic/versions").glob("*_in_work.py"))
    path.write_text(path.read_text() + "\n# edited\n")
    renewal = "alembic downgrade -1 && alembic upgrade head"
    warning = f"{path.name} changed after this database was upgraded with it: in development, run:"
    for arguments in (("upgrade", "head"), ("check",)):
        result = run(*arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count(f"  ! {warning} {renewal}\n") == 1, result.stdout
    assert released(project) == f"Locked 1 revision: {path.name[:4]}\n"
    message = failure(run("check"))
    assert "expected the text that this database was upgraded with" in message
    assert message.rstrip().endswith(renewal)
    assert run("downgrade", "-1").returncode == 0
    assert run("upgrade", "head").returncode == 0
    result = run("check")
    assert result.returncode == 0, result.stderr
    assert path.name not in result.stdout


def released(project: Path) -> str:
    """Release all revisions of a copy; returns the command's output."""
    result = operations("revision", "release", url=None, cwd=project)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_two_heads_are_rejected(migrated_database: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    newest = max((project / "alembic/versions").glob("0*.py"))
    number = newest.name[:4]
    other = newest.with_name("9000_other.py")
    other.write_text(newest.read_text().replace(f'revision = "{number}"', 'revision = "9000"', 1))
    message = failure(alembic("upgrade", "head", url=migrated_database, cwd=project))
    assert "one head" in message


TEN_LINES = '''
class Pump(TenantScoped, Identified, Timestamped, Base):
    """A pump."""

    __tablename__ = "pumps"

    site_id: Mapped[uuid.UUID]
    flow: Mapped[float | None] = mapped_column(comment="Litres per minute.")

    __table_args__ = (
        tenant_reference("site_id", "sites"),
        Index(None, "tenant_id", "site_id"),
        {"comment": "Pumps at a site."},
    )
'''


def test_a_model_of_ten_lines(migrated_database: str, tmp_path: Path) -> None:
    """A new table gets its key, isolation, grants and trigger without a word about them."""
    project = copy_project(tmp_path / "project")
    module = project / "models/pumps.py"
    module.write_text(
        "import uuid\n\n"
        "from sqlalchemy import Index\n"
        "from sqlalchemy.orm import Mapped, mapped_column\n\n"
        "from models.shared.base import Base, Identified, TenantScoped, Timestamped\n"
        "from models.shared.base import tenant_reference\n" + TEN_LINES
    )
    init = project / "models/__init__.py"
    text = init.read_text()
    init.write_text(text.replace("from models import (", "from models import (\n    pumps,", 1))
    url = migrated_database
    result = alembic("check", url=url, cwd=project)
    assert result.returncode != 0
    assert "pumps" in result.stdout + result.stderr
    result = alembic("revision", "--autogenerate", "-m", "pumps", url=url, cwd=project)
    assert result.returncode == 0, result.stderr
    text = max((project / "alembic/versions").glob("0*.py")).read_text()
    for expected in (
        'op.create_table(\n        "pumps"',
        'op.set_row_level_security(\n        "pumps", enable=True, force=True,',
        '"tenant_isolation": "FOR ALL TO fleet_app USING ((tenant_id, true) = ',
        'op.create_trigger("set_updated_at", "pumps"',
        'op.drop_table("pumps")',
    ):
        assert expected in text, text
    assert "import models" not in text
    for arguments in (("upgrade", "head"), ("check",), ("downgrade", "-1"), ("upgrade", "head")):
        result = alembic(*arguments, url=url, cwd=project)
        assert result.returncode == 0, result.stdout + result.stderr
    with engine_of(url) as engine, engine.connect() as connection:
        granted = sa.text("SELECT has_table_privilege('fleet_app', 'pumps', 'select')")
        assert connection.scalar(granted)
