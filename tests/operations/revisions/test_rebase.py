"""Two branches, one number: one's own revisions follow those of the other branch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from database.migration.revisions import RevisionError, Revisions
from operations.revisions.rebase import RebaseError, rebase
from tests.support.alembic_project import alembic, copy_project, environment, operations
from tests.support.engines import engine_of

FILE = '''"""{words}

Revision {number}, after {before}; CONTRIBUTING.md says what to look for when reading it.
"""

from alembic import op

revision = "{number}"
down_revision = {quoted}


def upgrade() -> None:
    op.execute("SELECT '{words}'")
'''


def git(folder: Path, *arguments: str, code: int = 0) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    result = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_EDITOR": "true"},
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout


def write(versions: Path, number: int, words: str) -> None:
    name, before = f"{number:04d}", f"{number - 1:04d}"
    (versions / f"{name}_{words}.py").write_text(
        FILE.format(
            words=words,
            number=name,
            before=before if number > 1 else "none",
            quoted=f'"{before}"' if number > 1 else None,
        )
    )
    (versions / "HEAD").write_text(f"{name}_{words}\n")


def commit(versions: Path, message: str) -> None:
    git(versions, "add", "-A")
    git(versions, "commit", "-qm", message)


def revisions(versions: Path) -> Revisions:
    return Revisions(ScriptDirectory(str(versions.parent)))


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """main with 0001 (released) and their 0002; the branch mine with 0002 and 0003, checked out."""
    folder = tmp_path / "project" / "alembic" / "versions"
    folder.mkdir(parents=True)
    git(folder.parents[1], "init", "-q")
    write(folder, 1, "first")
    (folder / "CHECKSUMS").write_text("")
    revisions(folder).release()
    commit(folder, "first")
    git(folder, "checkout", "-qb", "mine")
    write(folder, 2, "pumps")
    write(folder, 3, "valves")
    commit(folder, "pumps and valves")
    git(folder, "checkout", "-q", "main")
    write(folder, 2, "boilers")
    commit(folder, "boilers")
    git(folder, "checkout", "-q", "mine")
    return folder


def check_result(versions: Path, expected: list[str]) -> None:
    found = revisions(versions)
    found.verify()
    assert (versions / "HEAD").read_text() == f"{expected[-1][:-3]}\n"
    assert [path.name for path in found.files.values()] == expected
    for number, name in enumerate(expected, start=1):
        text = (versions / name).read_text()
        before = f"{number - 1:04d}" if number > 1 else "none"
        assert f"\nRevision {number:04d}, after {before}; " in text
        assert f"SELECT '{name[5:-3]}'" in text
    assert len(found.released()) >= 1


EXPECTED = ["0001_first.py", "0002_boilers.py", "0003_pumps.py", "0004_valves.py"]


def test_in_a_merge_with_conflicts(versions: Path) -> None:
    git(versions, "merge", "main", code=1)
    assert "<<<<<<<" in (versions / "HEAD").read_text()
    with pytest.raises(RevisionError, match=r"found two: .*make rebase"):
        revisions(versions)
    renumbered = rebase(versions)
    assert [one.numbers for one in renumbered] == [("0002", "0003"), ("0003", "0004")]
    check_result(versions, EXPECTED)
    assert rebase(versions) == []
    check_result(versions, EXPECTED)


def test_in_a_rebase(versions: Path) -> None:
    git(versions, "rebase", "main", code=1)
    rebase(versions)
    check_result(versions, EXPECTED)
    git(versions, "add", "-A")
    git(versions, "rebase", "--continue")
    check_result(versions, EXPECTED)


def test_after_a_merge_that_resolved_it_wrongly(versions: Path) -> None:
    git(versions, "merge", "-q", "-X", "ours", "main")
    rebase(versions)
    check_result(versions, EXPECTED)


def test_two_branches_neither_of_which_is_main(versions: Path) -> None:
    """Each wrote the name of its own file into HEAD, so that git reports a conflict."""
    git(versions, "checkout", "-q", "-b", "theirs", "main~1")
    write(versions, 2, "boilers")
    commit(versions, "boilers")
    git(versions, "checkout", "-q", "-b", "ours", "main~1")
    write(versions, 2, "pumps")
    commit(versions, "pumps")
    git(versions, "branch", "-qD", "main")
    git(versions, "merge", "-q", "theirs", code=1)
    assert "<<<<<<<" in (versions / "HEAD").read_text()
    rebase(versions)
    check_result(versions, EXPECTED[:3])


def test_after_a_merge_of_such_a_branch(versions: Path) -> None:
    git(versions, "checkout", "-q", "-b", "theirs", "main~1")
    write(versions, 2, "boilers")
    commit(versions, "boilers")
    git(versions, "checkout", "-q", "-b", "ours", "main~1")
    write(versions, 2, "pumps")
    commit(versions, "pumps")
    git(versions, "branch", "-qD", "main")
    git(versions, "merge", "-q", "-X", "ours", "theirs")
    rebase(versions)
    check_result(versions, EXPECTED[:3])


def test_the_other_branch_released_meanwhile(versions: Path) -> None:
    git(versions, "checkout", "-q", "main")
    revisions(versions).release()
    commit(versions, "release")
    git(versions, "checkout", "-q", "mine")
    git(versions, "merge", "main", code=1)
    rebase(versions)
    check_result(versions, EXPECTED)
    assert sorted(revisions(versions).released()) == ["0001", "0002"]


def test_ones_own_released_revision_is_not_renumbered(versions: Path) -> None:
    revisions(versions).release()
    commit(versions, "release")
    git(versions, "merge", "main", code=1)
    before = {path.name: path.read_bytes() for path in versions.iterdir() if path.is_file()}
    with pytest.raises(RebaseError, match=r"0003_valves\.py is released"):
        rebase(versions)
    assert {path.name: path.read_bytes() for path in versions.iterdir() if path.is_file()} == before


def test_a_branch_that_is_not_there(versions: Path) -> None:
    with pytest.raises(RebaseError, match="found none of elsewhere"):
        rebase(versions, "elsewhere")


def test_the_commands_for_a_database_give_what_all_others_get(
    tmp_path: Path, migrated_database: str
) -> None:
    """One's own revision, applied alone, is applied again after the other one."""
    project = copy_project(tmp_path / "project")
    versions = project / "alembic" / "versions"
    git(project, "init", "-q")
    commit(project, "project")
    last = max(int(path.name[:4]) for path in versions.glob("*.py"))
    for branch, up, down in (
        ("theirs", "CREATE SCHEMA aside", "DROP SCHEMA aside"),
        (
            "mine",
            "CREATE SCHEMA apart; CREATE TABLE apart.found AS SELECT to_regnamespace('aside')",
            "DROP SCHEMA apart CASCADE",
        ),
    ):
        git(project, "checkout", "-q", "-b", branch, "main")
        write(versions, last + 1, branch)
        (path,) = versions.glob(f"*_{branch}.py")
        text = path.read_text().replace(f"SELECT '{branch}'", up)
        path.write_text(f'{text}\n\ndef downgrade() -> None:\n    op.execute("{down}")\n')
        commit(project, branch)
    result = alembic("upgrade", "head", url=migrated_database, cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    git(project, "merge", "-q", "theirs", code=1)

    told = operations("revision", "rebase", url=migrated_database, cwd=project, COLUMNS="500")
    assert told.returncode == 0, told.stdout + told.stderr
    (line,) = (one for one in told.stdout.splitlines() if "stamp --purge" in one)
    # What these revisions create no model declares.
    line = line.removesuffix(" && alembic check")
    subprocess.run(
        ["bash", "-c", line], cwd=project, env=environment(migrated_database), check=True
    )
    with engine_of(migrated_database) as engine, engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM apart.found").scalar_one()
    assert found == "aside"
