"""What would brick a project or a database is refused, and the message names the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.alembic_project import alembic, copy_project, failure


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that no test changes for good."""
    return copy_project(tmp_path_factory.mktemp("ways") / "project")


def test_merge_and_odd_numbers_are_refused(migrated_database: str, project: Path) -> None:
    files = sorted(path.name for path in (project / "alembic/versions").glob("*.py"))
    for arguments, expected in (
        (("merge", "heads", "-m", "x"), "make rebase"),
        (("revision", "--rev-id", "abc", "-m", "x"), "--rev-id: expected 0"),
        (("revision", "-m", "x", "--branch-label", "b"), "--branch-label: expected a history"),
        (("revision", "-m", "x", "--depends-on", "0001"), "--depends-on: expected a history"),
        (("revision", "-m", "x", "--splice", "--head", "0030"), "--splice: expected a history"),
        (("-x", "editon=postgresql", "check"), "-x editon=postgresql: expected edition="),
    ):
        assert expected in failure(alembic(*arguments, url=migrated_database, cwd=project))
    assert sorted(path.name for path in (project / "alembic/versions").glob("*.py")) == files


def test_a_revision_whose_file_is_gone(migrated_database: str, project: Path) -> None:
    assert alembic("revision", "-m", "gone", url=migrated_database, cwd=project).returncode == 0
    assert alembic("upgrade", "head", url=migrated_database, cwd=project).returncode == 0
    (path,) = (project / "alembic/versions").glob("*_gone.py")
    number = path.name[:4]
    before = f"{int(number) - 1:04d}"
    path.unlink()
    (path.parent / "HEAD").write_text(f"{before}\n")  # as an older release wrote it
    for arguments in (("current",), ("check",), ("upgrade", "head"), ("stamp", "head")):
        message = failure(alembic(*arguments, url=migrated_database, cwd=project))
        assert f"found {number}: " in message
        assert f"alembic stamp --purge {before} && alembic check" in message
    result = alembic("stamp", "--purge", before, url=migrated_database, cwd=project)
    assert result.returncode == 0, result.stderr
    result = alembic("check", url=migrated_database, cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CHECKSUMS", "touch alembic/versions/CHECKSUMS"), ("HEAD", "> alembic/versions/HEAD")],
)
def test_a_missing_file_names_how_to_have_it(
    migrated_database: str, project: Path, name: str, expected: str
) -> None:
    path = project / "alembic/versions" / name
    text = path.read_text()
    path.unlink()
    try:
        assert expected in failure(alembic("check", url=migrated_database, cwd=project))
    finally:
        path.write_text(text)


def test_a_database_behind_the_head(migrated_database: str, project: Path) -> None:
    assert alembic("downgrade", "-1", url=migrated_database, cwd=project).returncode == 0
    for arguments in (("check",), ("revision", "--autogenerate", "-m", "x")):
        message = failure(alembic(*arguments, url=migrated_database, cwd=project))
        assert message.rstrip().endswith("run: alembic upgrade head")
